/** Requests to `api/…`: what the page asks for beside the terminal. */

import { isRecord, plainText } from "./checks.ts";

/** How long an answer may take, in milliseconds. */
const TIMEOUT_MS = 15_000;

/** A request was refused or failed; the message is a sentence to show. */
export class ApiError extends Error {}

/** Returns the sentence of a refusal: what was wrong, and what to do next. */
export function sentenceOf(answer: unknown, status: number): string {
  const error = isRecord(answer) ? plainText(answer["error"]) : "";
  const hint = isRecord(answer) ? plainText(answer["hint"]) : "";
  if (error === "" && hint === "") return `The bridge refused this (status ${status}).`;
  return hint === "" || error.includes(hint) ? error : `${error} ${hint}`.trim();
}

export class Api {
  constructor(
    private readonly page: URL,
    /** Sent with each request where there are no cookies; else empty. */
    private readonly credential = "",
  ) {}

  /** True when the browser itself sends no credential: an address opened by it would be refused. */
  get isFramed(): boolean {
    return this.credential !== "";
  }

  /** Asks for `api/NAME`; throws `ApiError`. */
  get(name: string): Promise<unknown> {
    return this.#ask(`api/${name}`, { method: "GET" });
  }

  /** Has `api/NAME` done; throws `ApiError`. */
  post(name: string, body: Record<string, unknown>): Promise<unknown> {
    return this.#ask(`api/${name}`, { method: "POST", body: JSON.stringify(body) });
  }

  /** Fetches a file below the page's address; throws `ApiError`. */
  async file(path: string): Promise<Blob> {
    const response = await this.#fetch(path, { method: "GET" }, false);
    if (!response.ok) throw new ApiError(sentenceOf(await response.json().catch(() => undefined), response.status));
    return response.blob();
  }

  async #ask(path: string, options: RequestInit): Promise<unknown> {
    const response = await this.#fetch(path, options, true);
    const answer: unknown = await response.json().catch(() => undefined);
    if (!response.ok) throw new ApiError(sentenceOf(answer, response.status));
    return answer;
  }

  async #fetch(path: string, options: RequestInit, isShort: boolean): Promise<Response> {
    const headers: Record<string, string> = { "ngrok-skip-browser-warning": "1" };
    if (options.method === "POST") headers["Content-Type"] = "application/json";
    if (this.credential !== "") headers["Authorization"] = `Bearer ${this.credential}`;
    const signal = isShort ? { signal: AbortSignal.timeout(TIMEOUT_MS) } : {};
    try {
      return await fetch(new URL(path, this.page), { ...options, ...signal, headers, cache: "no-store" });
    } catch {
      throw new ApiError("The bridge did not answer. Try again once the page is connected.");
    }
  }
}
