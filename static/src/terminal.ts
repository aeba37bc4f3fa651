/** The terminal on the page: xterm.js, its addons and options, its size in cells. */

import { FitAddon } from "@xterm/addon-fit";
import { WebLinksAddon } from "@xterm/addon-web-links";
import { type IDisposable, type ITheme, Terminal } from "@xterm/xterm";
import { boundRepetitions } from "./bounds.ts";
import { cellOf, expectsWebgl, fitIn, FONTS, rememberRenderer } from "./cell.ts";
import { GraphemeWriter } from "./graphemes.ts";
import { LastScreen } from "./lastscreen.ts";
import { copyRequest } from "./osc52.ts";
import { plainPaste } from "./pasted.ts";
import { pixelsAgree } from "./pixels.ts";
import { clampSize, type Mode, type WindowSize } from "./protocol.ts";
import { type Box, correctPointer, fitFont } from "./scale.ts";
import { webAddress } from "./webaddress.ts";

/**
 * Lines kept above the screen. tmux keeps a history of its own, and without one here xterm.js leaves no room for a
 * scroll bar; a direct command has none but this.
 */
const SCROLLBACK_TMUX = 0;
const SCROLLBACK_DIRECT = 5000;

/** Room that xterm.js keeps for its scroll bar, in CSS pixels; none without lines above the screen. */
const SCROLL_BAR_PX = 14;

/** Room for the frame around a scaled window at each side, in CSS pixels: see terminal.css. */
const FRAME_PX = 4;

/** CAN leaves an escape sequence that was cut off; as a byte, so that half a UTF-8 character goes, too. */
const END_SEQUENCE = new Uint8Array([0x18]);
/** The same, then ESC c: resets everything. */
const CLEAR = new Uint8Array([0x18, 0x1b, 0x63]);

export interface TerminalHandlers {
  /** Typed or pasted text, or an answer of the terminal. `isBinary`: each code unit is one byte. */
  typed(text: string, isBinary: boolean): void;
  title(title: string): void;
  /** A program asks to copy text to the clipboard. */
  copy(text: string): void;
  /** The pointer is over a link, or no longer. */
  linkHint(address: string): void;
  /** The size that fits the page is another one now. */
  fits(size: WindowSize): void;
}

export class TerminalView {
  readonly terminal: Terminal;
  readonly #fit = new FitAddon();
  readonly #lastScreen: LastScreen;
  readonly #writer: GraphemeWriter;
  readonly #disposables: IDisposable[] = [];
  #ptySize: WindowSize | undefined;
  #follows = false;
  #ownSize: WindowSize = { cols: 80, rows: 24 };
  #fontSize: number;
  /** Size of a cell in the user's own font, in CSS pixels; kept while the drawing is scaled. */
  #ownCell: Box = { width: 8, height: 16 };
  #scale = 1;
  /** What the present scale was computed for. */
  #scaledFor = "";
  #isOpen = false;
  /** What draws is chosen; before, xterm.js draws with the document. */
  #hasRenderer = false;
  #rendererIsChosen = false;
  #isTmux = false;
  #fitFrame: number | undefined;

  constructor(
    private readonly box: HTMLElement,
    private readonly handlers: TerminalHandlers,
    options: { readonly fontSize: number; readonly theme: ITheme; readonly screenReader: boolean },
  ) {
    this.#fontSize = options.fontSize;
    const openLink = (_event: MouseEvent, address: string): void => openAddress(address);
    // As it would be opened: names in other scripts as they are looked up, and no character that turns text around.
    const hint = (_event: MouseEvent, address: string): void => handlers.linkHint(webAddress(address) ?? "");
    const leave = (): void => handlers.linkHint("");
    this.terminal = new Terminal({
      allowProposedApi: true, // for `unicode`, which the graphemes addon needs
      fontFamily: FONTS,
      fontSize: options.fontSize,
      theme: options.theme,
      screenReaderMode: options.screenReader,
      scrollback: SCROLLBACK_TMUX,
      minimumContrastRatio: 4.5,
      cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches,
      macOptionClickForcesSelection: true,
      rightClickSelectsWord: false,
      windowOptions: {},
      linkHandler: { activate: openLink, hover: hint, leave, allowNonHttpProtocols: false },
    });
    const term = this.terminal;
    term.loadAddon(this.#fit);
    this.#writer = new GraphemeWriter(term);
    term.loadAddon(new WebLinksAddon(openLink, { hover: hint, leave }));
    term.open(box);
    this.#lastScreen = new LastScreen(term);
    this.#disposables.push(
      this.#lastScreen,
      ...boundRepetitions(term),
      term.onData((text) => handlers.typed(plainPaste(text), false)),
      term.onBinary((text) => handlers.typed(text, true)),
      term.onTitleChange((title) => handlers.title(title)),
      term.parser.registerOscHandler(52, (payload) => {
        const text = copyRequest(payload);
        if (text !== undefined) handlers.copy(text);
        return true;
      }),
    );
    this.#measure();
    this.#isOpen = true;
    const observer = new ResizeObserver(() => this.fitSoon());
    observer.observe(box);
    this.#disposables.push({ dispose: () => observer.disconnect() });
    correctPointer(box, () => this.#scale);
    // A hidden tab does not draw, and what is not drawn cannot be measured.
    document.addEventListener("visibilitychange", () => this.#remeasure());
  }

  /** The size that fits the page. */
  get ownSize(): WindowSize {
    return this.#ownSize;
  }

  /** Hands output to xterm.js; `parsed` is called once it is worked through. */
  write(data: Uint8Array, parsed: () => void): void {
    this.#writer.write(data, parsed);
  }

  /** Makes ready for a repaint, behind all output written before; `hard`: clears everything. */
  reset(hard: boolean): void {
    this.#writer.write(hard ? CLEAR : END_SEQUENCE);
  }

  /** Shows what was there last, after the pty has ended: tmux wipes it, a direct command leaves it. */
  showLastScreen(): void {
    if (this.#isTmux) this.#lastScreen.restore();
  }

  setMode(mode: Mode): void {
    this.#isTmux = mode !== "direct";
    this.terminal.options.scrollback = mode === "direct" ? SCROLLBACK_DIRECT : SCROLLBACK_TMUX;
  }

  /** Tells whether the session's window is shown, scaled, instead of one that fits the page. */
  get follows(): boolean {
    return this.#follows;
  }

  /** Shows the session's window or the page's own, behind all output written before. */
  setFollows(follows: boolean): void {
    this.#writer.write("", () => {
      this.#follows = follows;
      if (!follows && this.#isTmux) this.#ptySize = undefined;
      this.#measure();
    });
  }

  /** Shows a pty of this size, behind all output written before. */
  setPtySize(size: WindowSize): void {
    this.#writer.write("", () => {
      this.#ptySize = size;
      this.#measure();
    });
  }

  /** Sets the user's own font size; what is scaled keeps the one that fits. */
  setFontSize(px: number): void {
    const ratio = px / this.#fontSize;
    this.#fontSize = px;
    this.#ownCell = { width: this.#ownCell.width * ratio, height: this.#ownCell.height * ratio };
    this.#measure();
  }

  setTheme(theme: ITheme): void {
    this.terminal.options.theme = theme;
  }

  setScreenReader(isOn: boolean): void {
    this.terminal.options.screenReaderMode = isOn;
  }

  /** Fits at the next frame: many changes of size in one frame become one. */
  fitSoon(): void {
    this.#fitFrame ??= requestAnimationFrame(() => {
      this.#fitFrame = undefined;
      this.#measure();
    });
  }

  dispose(): void {
    for (const disposable of this.#disposables.splice(0)) disposable.dispose();
    this.terminal.dispose();
  }

  #measure(): void {
    const foreign = this.#follows ? this.#ptySize : undefined;
    if (!foreign) this.#unscale();
    const proposed = foreign ? this.#ownFit() : (this.#expectedFit() ?? this.#fit.proposeDimensions());
    if (proposed && Number.isFinite(proposed.cols) && Number.isFinite(proposed.rows)) {
      const size = clampSize(proposed);
      const isNew = size.cols !== this.#ownSize.cols || size.rows !== this.#ownSize.rows;
      this.#ownSize = size;
      if (isNew && this.#isOpen) this.handlers.fits(size);
    }
    const shown = this.#ptySize ?? this.#ownSize;
    const isForeign = shown.cols !== this.#ownSize.cols || shown.rows !== this.#ownSize.rows;
    if (shown.cols !== this.terminal.cols || shown.rows !== this.terminal.rows) {
      this.terminal.resize(shown.cols, shown.rows);
    }
    this.box.classList.toggle("foreign-size", isForeign && !foreign);
    if (foreign) this.#scaleTo(foreign);
  }

  #remeasure(): void {
    this.#scaledFor = "";
    this.fitSoon();
  }

  /** Gives the terminal back the user's own font, and learns how large its cells are. */
  #unscale(): void {
    const { terminal, box } = this;
    terminal.options.fontSize = this.#fontSize;
    box.classList.remove("scaled");
    this.#scale = 1;
    this.#scaledFor = "";
    const { width, height } = this.#drawn();
    if (width > 0 && height > 0) this.#ownCell = { width: width / terminal.cols, height: height / terminal.rows };
  }

  /**
   * Until the renderer is loaded, returns the size that will fit then: the two round characters differently, and a
   * shared window is not to be resized twice by each tab that comes.
   */
  #expectedFit(): WindowSize | undefined {
    const cell = this.#hasRenderer ? undefined : cellOf(this.#fontSize, expectsWebgl());
    return cell && fitIn(this.box, cell);
  }

  /** Returns the size that would fit the page in the user's own font. */
  #ownFit(): WindowSize {
    const { width, height } = this.#room();
    return { cols: Math.floor(width / this.#ownCell.width), rows: Math.floor(height / this.#ownCell.height) };
  }

  #room(): Box {
    const bar = this.terminal.options.scrollback === 0 ? 0 : SCROLL_BAR_PX;
    return { width: this.box.clientWidth - bar, height: this.box.clientHeight };
  }

  /** Returns the size of the drawing before any scaling, in CSS pixels. */
  #drawn(): Box {
    const screen = this.terminal.element?.querySelector<HTMLElement>(".xterm-screen");
    return { width: screen?.offsetWidth ?? 0, height: screen?.offsetHeight ?? 0 };
  }

  /** Draws a window as large as all of it can be seen, in the middle. */
  #scaleTo({ cols, rows }: WindowSize): void {
    const { terminal, box } = this;
    const all = this.#room();
    const room = { width: all.width - 2 * FRAME_PX, height: all.height - 2 * FRAME_PX };
    const key = [cols, rows, room.width, room.height, devicePixelRatio, box.dataset["renderer"]].join(" ");
    if (key === this.#scaledFor || room.width <= 0 || room.height <= 0) return;
    box.classList.add("scaled");
    const fit = fitFont(room, terminal.options.fontSize ?? this.#fontSize, (px) => {
      terminal.options.fontSize = px;
      return this.#drawn();
    });
    this.#scaledFor = key;
    this.#scale = fit.scale;
    const drawn = this.#drawn();
    const margin = (free: number, taken: number): string => `${FRAME_PX + Math.max(0, Math.floor((free - taken * fit.scale) / 2))}px`;
    box.style.setProperty("--screen-left", margin(room.width, drawn.width));
    box.style.setProperty("--screen-top", margin(room.height, drawn.height));
    box.style.setProperty("--screen-scale", fit.scale === 1 ? "none" : `scale(${fit.scale})`);
  }

  /**
   * Loads the WebGL renderer, once; the built-in one stays where it cannot run or loses its context. To be called when
   * something is drawn: it takes longer than the first screen.
   */
  async chooseRenderer(): Promise<void> {
    if (this.#rendererIsChosen) return;
    this.#rendererIsChosen = true;
    let isWebgl = false;
    try {
      if (await pixelsAgree(this.box)) {
        const { WebglAddon } = await import("@xterm/addon-webgl");
        const webgl = new WebglAddon();
        webgl.onContextLoss(() => {
          webgl.dispose();
          this.#showRenderer(false);
        });
        this.terminal.loadAddon(webgl);
        isWebgl = true;
      }
    } catch {
      // No WebGL here: xterm.js draws with the document instead.
    }
    this.#showRenderer(isWebgl);
  }

  #showRenderer(isWebgl: boolean): void {
    this.#hasRenderer = true;
    rememberRenderer(isWebgl);
    this.box.dataset["renderer"] = isWebgl ? "webgl" : "dom";
    this.#measure();
    this.#remeasure();
  }
}

/** Opens a link of the terminal in a tab of its own; http and https only. */
function openAddress(address: string): void {
  const web = webAddress(address);
  if (web !== undefined) window.open(web, "_blank", "noopener,noreferrer");
}
