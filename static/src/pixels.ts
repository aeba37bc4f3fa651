/**
 * Whether the browser tells device pixels right.
 *
 * The WebGL renderer of xterm.js 6.0 sizes its canvas by `devicePixelContentBoxSize`. Under device emulation
 * (developer tools, test drivers) and in some frames that number contradicts `devicePixelRatio`, and the
 * text is drawn at a multiple of its size: xterm.js issue 4728, pull request 6115.
 */

/** Largest relative difference that counts as rounding. */
const TOLERANCE = 0.02;

/** Resolves to false when the two numbers disagree for `element`, which must be visible. */
export function pixelsAgree(element: HTMLElement): Promise<boolean> {
  return new Promise((resolve) => {
    const observer = new ResizeObserver(([entry]) => {
      observer.disconnect();
      const told = entry?.devicePixelContentBoxSize?.[0]?.inlineSize;
      const width = entry?.contentRect.width;
      if (!told || !width) return resolve(true);
      resolve(Math.abs(told / width / devicePixelRatio - 1) < TOLERANCE);
    });
    try {
      observer.observe(element, { box: "device-pixel-content-box" });
    } catch {
      resolve(true); // Not known to this browser: then xterm.js does not use it either.
    }
  });
}
