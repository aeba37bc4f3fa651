/** The credential of a page in a frame of another site, where browsers refuse cookies. */

/**
 * Takes the credential out of the page, and the link that brought it out of the address.
 *
 * It stays in memory alone: a reload needs a new link, or the partitioned cookie where there is one.
 */
export function takeCredential(): string {
  const meta = document.querySelector<HTMLMetaElement>('meta[name="ttybridge-credential"]');
  const credential = meta?.content ?? "";
  meta?.remove();
  if (new URLSearchParams(location.search).has("link")) history.replaceState(null, "", location.pathname);
  return credential;
}
