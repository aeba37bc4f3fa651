/**
 * Builds the page into dist/: one script and one style with hashed names, lazily loaded chunks, the HTML files,
 * the notices of the bundled packages, a compressed copy of each file, and manifest.json.
 */

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { build } from "esbuild";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const DIST = path.join(HERE, "dist");
// Built beside dist/ and renamed at the end, so that a running server never sees half a page.
const WORK = path.join(HERE, `.dist-${process.pid}`);
/**
 * What the page with its script may cost, in bytes after brotli. A connection carries 14.5, 29 and 58 KB in its first
 * three round trips: what is over that costs everybody on a far line another one.
 */
const FIRST_LOAD_LIMIT = 100_000;

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** Writes a file whose name carries its hash; returns the name. */
async function writeHashed(stem, extension, content) {
  const name = `${stem}-${sha256(content).slice(0, 8).toUpperCase()}.${extension}`;
  await writeFile(path.join(WORK, name), content);
  return name;
}

const shared = {
  absWorkingDir: HERE,
  outdir: WORK,
  bundle: true,
  minify: true,
  target: "es2022",
  legalComments: "none",
  metafile: true,
  logLevel: "warning",
  entryNames: "[name]-[hash]",
};

/** Entry points of what is loaded when needed, by the name that the page's modules import. */
const LAZY = {
  "./search.ts": "src/search.ts",
  "./localecho.ts": "src/localecho.ts",
  "./company.ts": "src/company.ts",
  "@xterm/addon-webgl": "@xterm/addon-webgl",
  "@xterm/addon-unicode-graphemes": "@xterm/addon-unicode-graphemes",
};

function outputOf(result) {
  const [name] = Object.keys(result.metafile.outputs);
  return path.basename(name);
}

/**
 * Bundles script and style; returns their names and the source files that went in.
 *
 * The lazy parts are built on their own: esbuild's splitting would put what they share with the page (its
 * own helpers, too) into a chunk that the first load needs.
 */
async function bundle() {
  const lazy = new Map();
  const results = [];
  for (const [imported, entry] of Object.entries(LAZY)) {
    const stem = path.basename(imported, ".ts");
    const loader = { ".html": "text", ".css": "text" };
    const result = await build({ ...shared, entryPoints: { [stem]: entry }, format: "esm", loader });
    lazy.set(imported, outputOf(result));
    results.push(result);
  }
  const lazyPart = (imported) => {
    const name = lazy.get(imported);
    if (!name) throw new Error(`${imported} is imported dynamically and missing in LAZY`);
    return { path: `./${name}`, external: true };
  };
  const replaceLazy = {
    name: "lazy",
    setup(esbuild) {
      esbuild.onResolve({ filter: /.*/ }, ({ path: imported, kind }) =>
        kind === "dynamic-import" ? lazyPart(imported) : undefined,
      );
    },
  };
  const script = await build({ ...shared, entryPoints: { app: "src/main.ts" }, format: "esm", plugins: [replaceLazy] });
  const start = await build({ ...shared, entryPoints: { start: "src/start.ts" }, format: "iife" });
  const style = await build({ ...shared, entryPoints: { style: "style.css" } });
  const replayScript = await build({ ...shared, entryPoints: { replay: "src/replay.ts" }, format: "esm" });
  const replayStyle = await build({ ...shared, entryPoints: { replay: "replay.css" } });
  const all = [...results, script, start, style, replayScript, replayStyle];
  return {
    script: outputOf(script),
    start: outputOf(start),
    graphemes: lazy.get("@xterm/addon-unicode-graphemes"),
    style: outputOf(style),
    replayScript: outputOf(replayScript),
    replayStyle: outputOf(replayStyle),
    inputs: all.flatMap((result) => Object.keys(result.metafile.inputs)),
  };
}

/** What published packages have taken in: their inputs do not tell. */
const TAKEN_IN = { "asciinema-player": ["solid-js"] };

/** Returns the licences of the packages that the bundles contain. */
async function notices(inputs) {
  const packages = new Set();
  for (const input of inputs) {
    const match = /^(?:.*\/)?node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (match) for (const name of [match[1], ...(TAKEN_IN[match[1]] ?? [])]) packages.add(name);
  }
  const parts = ["The page of ttybridge contains these packages.\n"];
  for (const name of [...packages].sort()) {
    const folder = path.join(HERE, "node_modules", name);
    const { version, license } = JSON.parse(await readFile(path.join(folder, "package.json"), "utf8"));
    const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file ? await readFile(path.join(folder, file), "utf8") : `Licence: ${license}\n`;
    parts.push(`${"-".repeat(72)}\n${name} ${version} (${license})\n\n${text.trim()}\n`);
  }
  return parts.join("\n");
}

/** Fills an HTML file in and writes it: `%NAME%` becomes what `values` says. */
async function writePage(file, name, values) {
  let html = await readFile(path.join(HERE, file), "utf8");
  for (const [key, value] of Object.entries(values)) html = html.replaceAll(`%${key}%`, () => value);
  const left = /%[A-Z]+%/.exec(html.replaceAll(/<(script|style)[^]*?<\/\1>/g, ""));
  if (left) throw new Error(`${file}: nothing to put in place of ${left[0]}`);
  await writeFile(path.join(WORK, name), html);
}

/** Puts a built file into an element of the page. */
async function inside(name, tag, attributes = "") {
  const text = await readFile(path.join(WORK, name), "utf8");
  // A browser would end the element there, or take what follows for a comment.
  if (/<\/(script|style)|<!--/i.test(text)) throw new Error(`${name} cannot stand in the page`);
  return `<${tag}${attributes}>${text.trim()}</${tag}>`;
}

/**
 * Writes the page twice: index.html, which fetches its script, and first.html, which has it inside, for browsers that
 * have no copy (kept.ts, ttybridge/web/assets.py). Style and start script are in both.
 */
async function writeIndex(names, { script, start, style }) {
  const icon = await readFile(path.join(HERE, "src/icon.svg"), "utf8");
  const common = {
    ...names,
    ICONDATA: `data:image/svg+xml,${encodeURIComponent(icon.replaceAll(/\n\s*/g, ""))}`,
    STYLETAG: await inside(style, "style"),
    STARTTAG: await inside(start, "script"),
  };
  const fetched = `<script type="module" src="${names.SCRIPT}"></script>`;
  await writePage("index.html", "index.html", { ...common, SCRIPTTAG: fetched, LASTTAG: "" });
  const whole = await inside(script, "script", ' type="module"');
  await writePage("index.html", "first.html", { ...common, SCRIPTTAG: "", LASTTAG: whole });
  await rm(path.join(WORK, start));
}

/** Writes the .br and .gz of each file, and the manifest; returns the sizes after brotli by name. */
async function compressAll() {
  const files = [];
  const compressed = new Map();
  for (const name of (await readdir(WORK)).sort()) {
    const bytes = await readFile(path.join(WORK, name));
    const brotli = brotliCompressSync(bytes, {
      params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
    });
    await writeFile(path.join(WORK, `${name}.br`), brotli);
    await writeFile(path.join(WORK, `${name}.gz`), gzipSync(bytes, { level: 9 }));
    files.push({ name, sha: sha256(bytes), size: bytes.length });
    compressed.set(name, brotli.length);
  }
  await writeFile(path.join(WORK, "manifest.json"), `${JSON.stringify({ files }, null, 2)}\n`);
  return compressed;
}

async function main() {
  await mkdir(WORK, { recursive: true });
  const built = await bundle();
  const icon = await writeHashed("icon", "svg", await readFile(path.join(HERE, "src/icon.svg")));
  const licences = await writeHashed("licences", "txt", await notices(built.inputs));
  const names = {
    SCRIPT: built.script,
    STYLE: built.style,
    GRAPHEMES: built.graphemes,
    REPLAYSCRIPT: built.replayScript,
    REPLAYSTYLE: built.replayStyle,
    ICON: icon,
    NOTICES: licences,
  };
  for (const [key, name] of Object.entries(names)) names[key] = `./${name}`;
  await writeIndex(names, built);
  await writePage("login.html", "login.html", names);
  await writePage("replay.html", "replay.html", names);
  const compressed = await compressAll();
  const firstLoad = compressed.get("first.html");
  if (firstLoad > FIRST_LOAD_LIMIT) throw new Error(`the first load takes ${firstLoad} bytes, over ${FIRST_LOAD_LIMIT}`);
  const old = `${WORK}-old`;
  if (existsSync(DIST)) await rename(DIST, old);
  await rename(WORK, DIST);
  await rm(old, { recursive: true, force: true });
  console.log(`dist: ${compressed.size} files; first load ${Math.round(firstLoad / 1024)} KB after brotli`);
}

try {
  await main();
} finally {
  await rm(WORK, { recursive: true, force: true });
}
