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
/** What the first load may cost, in bytes after brotli: a bound against heavy imports by mistake. */
const FIRST_LOAD_LIMIT = 140_000;

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
  "@xterm/addon-webgl": "@xterm/addon-webgl",
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
    const result = await build({ ...shared, entryPoints: { [stem]: entry }, format: "esm" });
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
  const style = await build({ ...shared, entryPoints: { style: "style.css" } });
  const replayScript = await build({ ...shared, entryPoints: { replay: "src/replay.ts" }, format: "esm" });
  const replayStyle = await build({ ...shared, entryPoints: { replay: "replay.css" } });
  const all = [...results, script, style, replayScript, replayStyle];
  return {
    script: outputOf(script),
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

/** Fills the names of the built files into an HTML file. */
async function writePage(file, names) {
  let html = await readFile(path.join(HERE, file), "utf8");
  for (const [key, name] of Object.entries(names)) html = html.replaceAll(`%${key}%`, `./${name}`);
  const left = /%[A-Z]+%/.exec(html);
  if (left) throw new Error(`${file}: nothing to put in place of ${left[0]}`);
  await writeFile(path.join(WORK, file), html);
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
  const { script, style, replayScript, replayStyle, inputs } = await bundle();
  const icon = await writeHashed("icon", "svg", await readFile(path.join(HERE, "src/icon.svg")));
  const licences = await writeHashed("licences", "txt", await notices(inputs));
  const names = {
    SCRIPT: script,
    STYLE: style,
    REPLAYSCRIPT: replayScript,
    REPLAYSTYLE: replayStyle,
    ICON: icon,
    NOTICES: licences,
  };
  await writePage("index.html", names);
  await writePage("login.html", names);
  await writePage("replay.html", names);
  const compressed = await compressAll();
  const firstLoad = ["index.html", script, style].reduce((sum, name) => sum + compressed.get(name), 0);
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
