(box) => {
  const inside = document.querySelector(box);
  const frame = (element) => {
    const { x, y, width, height } = element.getBoundingClientRect();
    return [x, y, width, height];
  };
  // Parts of xterm.js that are never seen: they stand far away, or are transparent.
  const hidden = ".xterm-helpers, .live-region, .xterm-width-cache-measure-container, .xterm-char-measure-element, .offscreen";
  const [x, y, width, height] = frame(inside);
  const stray = [...inside.querySelectorAll(".xterm *, .ap-player *")].filter((one) => {
    if (one.closest(hidden) || one.closest("style")) return false;
    const part = one.getBoundingClientRect();
    if (part.width === 0 || part.height === 0) return false;
    // What a scrolling or clipping ancestor cuts off is not seen.
    for (let up = one; up !== inside; up = up.parentElement) {
      if (getComputedStyle(up).overflow !== "visible" && up !== one) return false;
    }
    return part.left < x - 1 || part.top < y - 1 || part.right > x + width + 1 || part.bottom > y + height + 1;
  }).map((one) => one.outerHTML.slice(0, 200));
  const above = [];
  for (let at = 5; at < innerWidth; at += 45) {
    for (const top of [2, Math.max(2, y - 8)]) {
      if (document.elementFromPoint(at, top)?.closest(box)) above.push([at, top]);
    }
  }
  return {
    canary: window.__canary.map(String),
    seen: window.__seen.splice(0),
    title: document.title,
    address: location.href,
    frames: [box, ...(document.querySelector("#main") ? ["#main", "#bar"] : [])].map((one) => frame(document.querySelector(one))),
    overflow: [document.documentElement.scrollWidth - innerWidth, document.documentElement.scrollHeight - innerHeight],
    stray,
    above,
    planted: document.querySelectorAll("#planted, img[src=x], iframe, object, embed, audio, video, a[href^='javascript'], a[href^='data']").length,
    size: window.ttybridge.terminal ? [window.ttybridge.terminal.cols, window.ttybridge.terminal.rows] : [],
    dialogs: document.querySelectorAll("dialog[open]").length,
    fullscreen: document.fullscreenElement !== null,
  };
}
