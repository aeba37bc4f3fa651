/** Settings remembered in the browser; everything works, and forgets, where storage is blocked. */

const PREFIX = "ttybridge.";

export function remembered(name: string): string | null {
  try {
    return localStorage.getItem(PREFIX + name);
  } catch {
    return null;
  }
}

export function remember(name: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(PREFIX + name);
    else localStorage.setItem(PREFIX + name, value);
  } catch {
    // Blocked or full: the setting lasts as long as the page.
  }
}
