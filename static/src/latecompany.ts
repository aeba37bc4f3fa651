/** Stands for `company.ts` until that is loaded, and keeps the last of what it is told. */

import type { Company, CompanyHandlers } from "./company.ts";
import { byId } from "./dom.ts";
import type { People } from "./peopledata.ts";
import type { Joined, Role } from "./protocol.ts";

/** Buttons that can be seen before what they open is there. */
const BUTTONS = ["people-open"];

type News = "joined" | "role" | "people" | "ended";

export class LateCompany {
  #company: Company | undefined;
  #isLoading = false;
  /** What is to be told, the last of each kind, in the order of its coming. */
  readonly #untold = new Map<News, (company: Company) => void>();

  constructor(
    private readonly page: URL,
    private readonly credential: string,
    private readonly handlers: CompanyHandlers,
  ) {
    for (const id of BUTTONS) {
      byId(id).addEventListener("click", () => {
        if (!this.#company) void this.load().then(() => this.#company && byId(id).click());
      });
    }
  }

  /** Loads it, if that is not under way; where it cannot be had now, the next call tries again. */
  async load(): Promise<void> {
    if (this.#company || this.#isLoading) return;
    this.#isLoading = true;
    try {
      const { Company } = await import("./company.ts");
      const company = new Company(this.page, this.credential, this.handlers);
      this.#company = company;
      for (const tell of this.#untold.values()) tell(company);
      this.#untold.clear();
    } catch {
      // Asked for again when there is news.
    } finally {
      this.#isLoading = false;
    }
  }

  joined({ id, role, recording }: Joined): void {
    this.#tell("joined", (company) => company.joined(id, role, recording));
  }

  setRole(role: Role): void {
    this.#tell("role", (company) => company.setRole(role));
  }

  show(people: People): void {
    this.#tell("people", (company) => company.show(people));
  }

  ended(): void {
    this.#tell("ended", (company) => company.ended());
  }

  #tell(news: News, tell: (company: Company) => void): void {
    if (this.#company) return tell(this.#company);
    this.#untold.delete(news);
    this.#untold.set(news, tell);
  }
}
