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
