/**
 * Where this page stands in the output stream: what was taken in, what was parsed, what to acknowledge.
 *
 * Three positions, all absolute byte counts: acknowledged <= parsed <= taken. Taken bytes have been handed
 * to the terminal, which parses them later; only parsed ones are acknowledged, so the server's window
 * bounds what waits inside the terminal. Pure: no clock, no socket.
 */

/** Says until where the stream is parsed once the terminal has worked through a chunk. */
export interface Mark {
  readonly epoch: number;
  readonly end: number;
}

export type Accepted =
  | { readonly kind: "new"; readonly data: Uint8Array; readonly mark: Mark }
  | { readonly kind: "seen" }
  | { readonly kind: "gap"; readonly missing: number };

export class OutputStream {
  #epoch = 0;
  /** Where the stream began. */
  #start = 0;
  #taken = 0;
  #parsed = 0;
  #acked = 0;
  /** Lowest offset that may be acknowledged on this connection. */
  #floor = 0;

  /** Bytes taken in: the offset to resume from. */
  get taken(): number {
    return this.#taken;
  }

  /** Bytes taken in since the stream began. */
  get length(): number {
    return this.#taken - this.#start;
  }

  /** Starts to count from `offset`: a new stream, or bytes were skipped. Marks given before are void. */
  restart(offset: number): void {
    this.#epoch += 1;
    this.#start = this.#taken = this.#parsed = this.#acked = this.#floor = offset;
  }

  /** Goes on after a lost connection: what was told to the old one is told again. */
  resume(): void {
    this.#floor = this.#taken;
    this.#acked = Math.min(this.#acked, this.#floor - 1);
  }

  /** Takes in one `out` message, without the part that is there already. */
  accept(offset: number, data: Uint8Array): Accepted {
    if (offset > this.#taken) return { kind: "gap", missing: offset - this.#taken };
    const fresh = data.subarray(this.#taken - offset);
    if (fresh.length === 0) return { kind: "seen" };
    this.#taken += fresh.length;
    return { kind: "new", data: fresh, mark: { epoch: this.#epoch, end: this.#taken } };
  }

  /** Notes that the terminal has parsed everything up to `mark`. */
  parsed(mark: Mark): void {
    if (mark.epoch === this.#epoch && mark.end > this.#parsed) this.#parsed = mark.end;
  }

  /** Returns true when an acknowledgement is due that `bytes` parsed ones make due. */
  ackIsDue(bytes: number): boolean {
    return this.ackIsWaiting && this.#parsed - this.#acked >= bytes;
  }

  /** True when something is parsed and not yet acknowledged. */
  get ackIsWaiting(): boolean {
    return this.#parsed > this.#acked && this.#parsed >= this.#floor;
  }

  /** Returns the offset to acknowledge and counts it as sent. */
  takeAck(): number {
    this.#acked = this.#parsed;
    return this.#acked;
  }
}
