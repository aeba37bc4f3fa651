/** Short ways to reach the elements of index.html. */

/** Returns the element with this id; throws when the page lacks it, which a test of the page shows at once. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no element #${id}`);
  return element as T;
}

/** Calls `action` when the button with this id is pressed. */
export function onPress(id: string, action: () => void): void {
  byId(id).addEventListener("click", action);
}

/** Makes an element with classes and, where given, its text. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className = "",
  text?: string,
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (className !== "") element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Makes a button. */
export function makeButton(label: string, className: string, press: () => void): HTMLButtonElement {
  const button = make("button", className, label);
  button.type = "button";
  button.addEventListener("click", press);
  return button;
}

/** Sets an element's text if it is another one now, so that a screen reader is not told again. */
export function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Wires a dialog: its close button, a press beside it, and what follows when it has closed. */
export function wireDialog(id: string, closed: () => void): HTMLDialogElement {
  const dialog = byId<HTMLDialogElement>(id);
  onPress(`${id}-close`, () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", closed);
  return dialog;
}
