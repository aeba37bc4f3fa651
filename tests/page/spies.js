(() => {
  const seen = [];
  const define = (name, value) => Object.defineProperty(window, name, { value });
  define("__canary", []);
  define("__seen", seen);
  const spy = (object, name, answer) => {
    if (!object || !(name in object)) return;
    const real = object[name];
    object[name] = function (...args) {
      seen.push([name, ...args.map((arg) => String(arg).slice(0, 300))]);
      return answer === "real" ? real.apply(this, args) : answer;
    };
  };
  const clipboard = Object.getPrototypeOf(navigator.clipboard ?? {});
  for (const name of ["read", "readText", "write", "writeText"]) spy(clipboard, name, "real");
  spy(window, "open", "real");
  for (const name of ["alert", "confirm", "prompt", "print", "moveTo", "resizeTo", "moveBy", "resizeBy"]) spy(window, name);
  spy(window, "focus", "real");
  for (const name of ["pushState", "replaceState", "back", "forward", "go"]) spy(History.prototype, name, "real");
  spy(Document.prototype, "execCommand", "real");
  spy(Document.prototype, "write");
  for (const name of ["requestFullscreen", "requestPointerLock"]) spy(Element.prototype, name);
  spy(HTMLFormElement.prototype, "submit");
  spy(navigator, "sendBeacon");
  spy(navigator, "registerProtocolHandler");
  spy(navigator, "share");
  spy(navigator, "vibrate");
  spy(window, "Notification");
  spy(HTMLMediaElement.prototype, "play");
  spy(window, "AudioContext");
  const WHERE = "#terminal, #player";
  const added = (node, parent) => {
    const element = node.nodeType === 1 ? node : parent;
    if (!element?.isConnected || element.closest?.(WHERE) || document.head?.contains(element)) return;
    if (node.nodeType === 1) seen.push(["added", node.outerHTML.slice(0, 300)]);
  };
  addEventListener("DOMContentLoaded", () => {
    new MutationObserver((changes) => {
      for (const change of changes) for (const node of change.addedNodes) added(node, change.target);
    }).observe(document.documentElement, { childList: true, subtree: true });
  });
})();
