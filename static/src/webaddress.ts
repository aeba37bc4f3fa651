/** Which addresses of a program's links are opened. Pure. */

/** Longest address that is opened, in code units; servers take about 8000. */
const MAX_ADDRESS = 8192;

/** Returns an http or https address as the browser would open it; `undefined` for any other. */
export function webAddress(address: string): string | undefined {
  if (address.length > MAX_ADDRESS) return undefined;
  try {
    const url = new URL(address);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : undefined;
  } catch {
    return undefined;
  }
}
