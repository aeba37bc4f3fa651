/** QR codes, drawn here: a link is nobody else's business. */

import { encode } from "uqr";

/** Light modules around the code, as the standard wants it. */
const QUIET_ZONE = 4;

/** Returns the drawing instructions of an SVG path for the dark modules, row by row. Pure. */
export function pathOf(modules: readonly (readonly boolean[])[]): string {
  const parts: string[] = [];
  modules.forEach((row, y) => {
    for (let x = 0; x < row.length; x += 1) {
      if (!row[x]) continue;
      const start = x;
      while (row[x + 1]) x += 1;
      parts.push(`M${start} ${y}h${x - start + 1}v1h-${x - start + 1}z`);
    }
  });
  return parts.join("");
}

/** Returns the modules of the code for a text, without the quiet zone. */
export function modulesOf(text: string): readonly (readonly boolean[])[] {
  return encode(text, { ecc: "M", border: 0 }).data;
}

/** Draws the code of a text into an element; `label` is for those who cannot see it. */
export function drawQr(box: HTMLElement, text: string, label: string): void {
  const modules = modulesOf(text);
  const svgOf = (tag: string): SVGElement => document.createElementNS("http://www.w3.org/2000/svg", tag) as SVGElement;
  const size = modules.length + 2 * QUIET_ZONE;
  const svg = svgOf("svg");
  svg.setAttribute("viewBox", `${-QUIET_ZONE} ${-QUIET_ZONE} ${size} ${size}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  svg.setAttribute("shape-rendering", "crispEdges");
  const path = svgOf("path");
  path.setAttribute("d", pathOf(modules));
  svg.append(path);
  box.replaceChildren(svg);
}
