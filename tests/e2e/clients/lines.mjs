// Answers requests that come as JSON lines on standard input, one JSON line each, and finds packages.
import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

export const require = createRequire(new URL("../../../static/package.json", import.meta.url));

// operations: names to functions of the request; what they return, or resolve to, is the answer.
// `close` is called at the end, too.
export function serve(operations) {
  const lines = createInterface({ input: process.stdin });
  lines.on("line", async (line) => {
    const request = JSON.parse(line);
    let answer;
    try {
      answer = (await operations[request.op](request)) ?? {};
    } catch (error) {
      answer = { failure: String(error.stack ?? error) };
    }
    process.stdout.write(JSON.stringify({ ...answer, id: request.id }) + "\n");
  });
  lines.on("close", () => {
    operations.close(); // a polling client that only vanishes would be waited for
    setTimeout(() => process.exit(0), 1000).unref();
  });
}

// What has arrived: its length, its checksum, its end.
export class Received {
  constructor() {
    this.bytes = 0;
    this.tail = Buffer.alloc(0);
    this.hash = createHash("sha256");
  }

  add(data) {
    const buffer = Buffer.from(data);
    this.bytes += buffer.length;
    this.hash.update(buffer);
    this.tail = Buffer.concat([this.tail, buffer]).subarray(-8192);
  }

  report() {
    return {
      bytes: this.bytes,
      sha256: this.hash.copy().digest("hex"),
      tail: this.tail.toString(),
    };
  }
}
