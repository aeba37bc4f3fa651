/**
 * The script on later visits: the first answer carries it inside (build.mjs), so that it comes in the same round of
 * requests; once the browser has a copy of its own, a cookie says so, and the page comes without it.
 */

const COOKIE = "ttybridge-page";
const YEAR_S = 365 * 24 * 60 * 60;
/** When the copy is fetched, in milliseconds after the first screen: not while that is drawn. */
const FETCH_AFTER_MS = 3_000;

let isAsked = false;

/** Has the browser keep the script, once. */
export function keepForNextTime(): void {
  if (isAsked) return;
  isAsked = true;
  setTimeout(() => void keep(), FETCH_AFTER_MS);
}

async function keep(): Promise<void> {
  const name = document.querySelector<HTMLMetaElement>('meta[name="ttybridge-script"]')?.content;
  if (!name) return;
  try {
    const response = await fetch(new URL(name, document.baseURI), { priority: "low" });
    await response.arrayBuffer();
    if (response.ok) document.cookie = `${COOKIE}=${name}; max-age=${YEAR_S}; samesite=lax`;
  } catch {
    // Not now: the next visit is as this one.
  }
}
