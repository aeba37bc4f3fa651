/** The dialog that makes links, and lists and revokes those there are. */

import { type Api, ApiError } from "./api.ts";
import { byId, make, makeButton, onPress, setText, wireDialog } from "./dom.ts";
import { counted } from "./format.ts";
import { isLoopback, isSpent, linkWords, newLinkWords, parseLinks, parseNewLink, type SharedLink } from "./links.ts";
import { copyText } from "./osc52.ts";
import { say } from "./people.ts";
import type { Role } from "./protocol.ts";
import { drawQr } from "./qr.ts";
import { shareable } from "./rights.ts";
import { toast } from "./toast.ts";

/** How often the list is asked for while it is open, in milliseconds. */
const REFRESH_MS = 5_000;
/** How long news of people are gathered before the list is asked for, in milliseconds. */
const SOON_MS = 500;

export interface ShareHandlers {
  /** Returns what the clients with these ids are called. */
  namesOf(ids: readonly string[]): readonly string[];
  closed(): void;
}

export class ShareView {
  readonly #dialog: HTMLDialogElement;
  readonly #form = byId<HTMLFormElement>("share-form");
  readonly #result = byId("share-result");
  readonly #link = byId<HTMLInputElement>("share-link");
  #role: Role = "viewer";
  #timer: number | undefined;
  #soon: number | undefined;
  #isMaking = false;
  /** The link that has been asked about: the next press revokes it. */
  #sure = "";
  #isDrawing = false;

  constructor(
    private readonly api: Api,
    private readonly handlers: ShareHandlers,
    private readonly page: URL,
  ) {
    this.#dialog = wireDialog("share", () => {
      clearInterval(this.#timer);
      this.#sure = "";
      // A link gives access: it does not stay on the screen.
      this.#showForm();
      handlers.closed();
    });
    onPress("share-open", () => this.open());
    byId("share-roles").addEventListener("change", () => this.#offerUses());
    onPress("share-copy", () => void this.#copy());
    onPress("share-again", () => {
      this.#showForm();
      this.#checkedRole()?.focus();
    });
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#make();
    });
    this.#link.addEventListener("focus", () => this.#link.select());
  }

  setRole(role: Role): void {
    this.#role = role;
    const roles = shareable(role);
    if (roles.length === 0 && this.#dialog.open) this.#dialog.close();
    for (const field of this.#form.querySelectorAll<HTMLInputElement>("input[name=role]")) {
      const isOffered = roles.some((one) => one === field.value);
      field.disabled = !isOffered;
      field.closest("label")?.toggleAttribute("hidden", !isOffered);
      if (!isOffered) field.checked = false;
    }
    if (!this.#checkedRole()) {
      const first = this.#form.querySelector<HTMLInputElement>("input[name=role][value=viewer]");
      if (first) first.checked = true;
    }
    this.#offerUses();
    byId("links").hidden = role !== "owner";
  }

  open(): void {
    if (this.#dialog.open) return;
    this.#showForm();
    this.#dialog.showModal();
    this.#checkedRole()?.focus();
    if (this.#role !== "owner") return;
    void this.#refresh();
    clearInterval(this.#timer);
    this.#timer = window.setInterval(() => void this.#refresh(), REFRESH_MS);
  }

  /** To be called when people have come or gone: the list says who came by which link. */
  peopleChanged(): void {
    if (!this.#dialog.open || this.#role !== "owner" || this.#soon !== undefined) return;
    this.#soon = window.setTimeout(() => {
      this.#soon = undefined;
      void this.#refresh();
    }, SOON_MS);
  }

  /** A link that lets people type goes to one of them. */
  #offerUses(): void {
    const uses = byId<HTMLSelectElement>("share-uses");
    const any = uses.querySelector<HTMLOptionElement>("option[value=any]");
    const isForMany = this.#checkedRole()?.value === "viewer";
    if (!any || any.disabled !== isForMany) return;
    any.disabled = !isForMany;
    uses.value = isForMany ? "any" : "1";
  }

  #checkedRole(): HTMLInputElement | null {
    return this.#form.querySelector<HTMLInputElement>("input[name=role]:checked");
  }

  close(): void {
    this.#dialog.close();
  }

  #showForm(): void {
    this.#form.hidden = false;
    this.#result.hidden = true;
    this.#link.value = "";
    byId("share-qr").replaceChildren();
  }

  async #make(): Promise<void> {
    if (this.#isMaking) return;
    this.#isMaking = true;
    try {
      await this.#request();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      toast(error.message, { isWarning: true, group: "api" });
    } finally {
      this.#isMaking = false;
    }
  }

  async #request(): Promise<void> {
    const uses = byId<HTMLSelectElement>("share-uses").value;
    const answer = await this.api.post("share", {
      role: this.#checkedRole()?.value ?? "viewer",
      name: byId<HTMLInputElement>("share-name").value.trim(),
      lifeS: Number(byId<HTMLSelectElement>("share-life").value),
      uses: uses === "any" ? null : Number(uses),
    });
    const link = parseNewLink(answer, this.page);
    if (!link) throw new ApiError("The bridge made no link that this page understands. Reload the page.");
    this.#form.hidden = true;
    this.#result.hidden = false;
    this.#link.value = link.address;
    setText(byId("share-result-title"), link.name === "" ? "The link is ready" : `The link for ${link.name} is ready`);
    setText(byId("share-result-text"), newLinkWords(link, Date.now() / 1000));
    const isForHere = isLoopback(new URL(link.address));
    byId("share-here").hidden = !isForHere;
    byId("share-qr").hidden = isForHere;
    if (!isForHere) drawQr(byId("share-qr"), link.address, "QR code of the link");
    byId("share-result-title").focus();
    byId<HTMLInputElement>("share-name").value = "";
    if (this.#role === "owner") await this.#refresh();
  }

  async #copy(): Promise<void> {
    const button = byId("share-copy");
    const isCopied = await copyText(this.#link.value, true);
    setText(button, isCopied ? "Copied" : "Select and copy it");
    if (!isCopied) this.#link.focus();
    window.setTimeout(() => setText(button, "Copy the link"), 2_000);
  }

  async #refresh(): Promise<void> {
    let links: SharedLink[];
    try {
      links = parseLinks(await this.api.get("links"));
    } catch {
      return; // Asked for again soon; what there is stays.
    }
    const now = Date.now() / 1000;
    const spent = links.filter((link) => isSpent(link, now));
    const good = links.filter((link) => !spent.includes(link));
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset["link"] : undefined;
    this.#isDrawing = true;
    const rows = good.map((link) => this.#row(link, now));
    const spentRows = spent.map((link) => this.#row(link, now));
    byId("links-list").replaceChildren(...rows);
    byId("links-spent-list").replaceChildren(...spentRows);
    setText(byId("links-spent-title"), counted(spent.length, "used-up link"));
    byId("links-spent").hidden = spent.length === 0;
    byId("links-none").hidden = links.length > 0;
    if (focused !== undefined) {
      const buttons = [...rows, ...spentRows].map((row) => row.querySelector<HTMLElement>("button"));
      buttons.find((one) => one?.dataset["link"] === focused)?.focus();
    }
    this.#isDrawing = false;
  }

  #row(link: SharedLink, now: number): HTMLLIElement {
    const row = make("li", "plain-row");
    const words = make("div", "plain-words");
    const [title, details] = linkWords(link, this.handlers.namesOf(link.people), now);
    words.append(make("span", "plain-title", title), make("span", "soft", details));
    const button = makeButton("", "small danger", () => {
      // Somebody is here by it: they would lose the session at once.
      if (link.people.length === 0 || this.#sure === link.id) return void this.#revoke(link.id);
      this.#sure = link.id;
      label();
    });
    const label = (): void => {
      const isAsked = this.#sure === link.id;
      button.classList.toggle("sure", isAsked);
      setText(button, isAsked ? "Really revoke?" : "Revoke");
      button.setAttribute("aria-label", `${isAsked ? "Really revoke" : "Revoke"}: ${title}`);
    };
    label();
    button.addEventListener("blur", () => {
      // A list that is drawn anew takes the focus away for a moment.
      if (this.#isDrawing) return;
      if (this.#sure === link.id) this.#sure = "";
      label();
    });
    button.dataset["link"] = link.id;
    button.title = "Ends the link and the connections of those who came by it";
    row.append(words, button);
    return row;
  }

  async #revoke(id: string): Promise<void> {
    this.#sure = "";
    if (!(await say(this.api.post("revoke", { link: id })))) return;
    await this.#refresh();
    byId("links-title").focus();
  }
}
