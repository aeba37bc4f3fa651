/** Waits for a bridge that was stopped to run again. */

const ASK_EVERY_MS = 3_000;

/** Calls `action` once the bridge answers, as long as `isWaiting()`; asks only while the page can be seen. */
export function whenBack(page: URL, isWaiting: () => boolean, action: () => void): void {
  const address = new URL("healthz", page);
  const ask = async (): Promise<void> => {
    if (!isWaiting()) return;
    if (document.visibilityState === "visible" && (await answers(address))) {
      if (isWaiting()) action();
    } else {
      setTimeout(() => void ask(), ASK_EVERY_MS);
    }
  };
  setTimeout(() => void ask(), ASK_EVERY_MS);
}

async function answers(address: URL): Promise<boolean> {
  try {
    const headers = { "ngrok-skip-browser-warning": "1" };
    const { ok } = await fetch(address, { cache: "no-store", credentials: "omit", headers });
    return ok;
  } catch {
    return false;
  }
}
