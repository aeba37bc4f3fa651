/** Keeps the page as high as what a keyboard on the screen leaves free, where the browser does not. */
export function followVisualViewport(): void {
  const seen = window.visualViewport;
  if (!seen) return;
  const style = document.documentElement.style;
  const follow = (): void => {
    // A page that the user has zoomed into keeps its layout: pinching is not a keyboard.
    if (seen.scale > 1.01) {
      style.removeProperty("--seen-height");
      style.removeProperty("--seen-top");
      return;
    }
    style.setProperty("--seen-height", `${seen.height}px`);
    style.setProperty("--seen-top", `${seen.offsetTop}px`);
  };
  seen.addEventListener("resize", follow);
  seen.addEventListener("scroll", follow);
  follow();
}
