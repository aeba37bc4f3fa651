/** Runs the tests: bundles each test file with the modules that it imports, then hands them to node's runner. */

import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const folder = await mkdtemp(path.join(os.tmpdir(), "ttybridge-page-"));
try {
  const names = (await readdir(HERE)).filter((name) => name.endsWith(".test.mjs"));
  await build({
    entryPoints: names.map((name) => path.join(HERE, name)),
    outdir: folder,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node18",
    sourcemap: "inline",
    logLevel: "warning",
  });
  const files = names.map((name) => path.join(folder, name));
  const { status } = spawnSync(process.execPath, ["--enable-source-maps", "--test", ...files], {
    stdio: "inherit",
    // Where a test reads files: the bundles are elsewhere.
    env: { ...process.env, SESSIONS: path.join(HERE, "sessions") },
  });
  process.exitCode = status ?? 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}
