/**
 * Input on its way to the pty: numbered, cut into messages, kept until the server has it.
 *
 * Text waits in `#waiting` until a message slot is free, and typed text joins the text that waits. A sent message
 * stays in `#underWay` until its number comes back, so that a resumed connection can send it again: the
 * server ignores numbers that it knows, which makes every key arrive once and in order. Pure.
 */

/**
 * Messages without an answer that may be under way; the protocol allows 16. Eight leave room for
 * acknowledgements and heartbeats in one polling request, where Engine.IO servers take 16 packets.
 */
export const MAX_UNDER_WAY = 8;

/** Most code units kept in all: what the server keeps for a pty that does not read. */
export const MAX_KEPT = 16 * 1024 * 1024;

export interface InputMessage {
  readonly seq: number;
  readonly text: string;
  /** Each code unit of `text` is one byte. */
  readonly isBinary: boolean;
}

interface Piece {
  text: string;
  /** Code units of `text` that have been cut off already. */
  start: number;
  readonly isBinary: boolean;
}

/** Returns where to cut `text` so that the piece from `start` has at most `limit` units and no half pair. */
export function cutAt(text: string, start: number, limit: number): number {
  const end = Math.min(start + limit, text.length);
  if (end === text.length || end - start < 2) return end;
  const last = text.charCodeAt(end - 1);
  return last >= 0xd800 && last <= 0xdbff ? end - 1 : end;
}

export class InputQueue {
  #nextSeq = 1;
  #maxInput: number;
  #waiting: Piece[] = [];
  #waitingUnits = 0;
  #underWay: InputMessage[] = [];
  #underWayUnits = 0;
  /** Code units that the pty has, since the last `restart`. */
  #delivered = 0;
  /** How many of `#underWay`, counted from the front, were sent on this connection. */
  #sent = 0;

  constructor(maxInput: number) {
    this.#maxInput = maxInput;
  }

  /** Code units that the server does not have yet, as far as is known. */
  get unitsLeft(): number {
    return this.#waitingUnits + this.#underWayUnits;
  }

  /** Code units that the server has told to be with the pty, of all since the last `restart`. */
  get delivered(): number {
    return this.#delivered;
  }

  /** Code units added since the last `restart`, less those dropped. */
  get end(): number {
    return this.#delivered + this.unitsLeft;
  }

  /** Adds text; returns false, and adds nothing, when too much is kept already. */
  push(text: string, isBinary = false): boolean {
    if (text === "") return true;
    if (this.unitsLeft + text.length > MAX_KEPT) return false;
    const last = this.#waiting.at(-1);
    if (last && last.isBinary === isBinary && last.text.length - last.start + text.length <= this.#maxInput) {
      last.text += text;
    } else {
      this.#waiting.push({ text, start: 0, isBinary });
    }
    this.#waitingUnits += text.length;
    return true;
  }

  /** Returns the next message to send, or `undefined` when there is none or enough are under way. */
  next(): InputMessage | undefined {
    const again = this.#underWay[this.#sent];
    if (again) {
      this.#sent += 1;
      return again;
    }
    const piece = this.#waiting[0];
    if (!piece || this.#underWay.length >= MAX_UNDER_WAY) return undefined;
    const end = piece.isBinary
      ? Math.min(piece.start + this.#maxInput, piece.text.length)
      : cutAt(piece.text, piece.start, this.#maxInput);
    const message = { seq: this.#nextSeq, text: piece.text.slice(piece.start, end), isBinary: piece.isBinary };
    this.#nextSeq += 1;
    piece.start = end;
    if (end === piece.text.length) this.#waiting.shift();
    this.#waitingUnits -= message.text.length;
    this.#underWay.push(message);
    this.#underWayUnits += message.text.length;
    this.#sent += 1;
    return message;
  }

  /** Forgets the messages up to `seq`: the pty has them. */
  acknowledge(seq: number): void {
    while (this.#underWay[0] && this.#underWay[0].seq <= seq) {
      this.#underWayUnits -= this.#underWay[0].text.length;
      this.#delivered += this.#underWay[0].text.length;
      this.#underWay.shift();
      this.#sent = Math.max(0, this.#sent - 1);
    }
  }

  /** Drops what has no number yet: it is not to be sent any more. */
  dropWaiting(): void {
    this.#waiting = [];
    this.#waitingUnits = 0;
  }

  /** Goes on after a lost connection: what the server has not accepted is sent again, same numbers. */
  resume(lastAccepted: number, maxInput: number): void {
    this.#maxInput = maxInput;
    this.acknowledge(lastAccepted);
    this.#sent = 0;
  }

  /**
   * Begins anew behind message `lastAccepted` and drops what is kept.
   *
   * Returns how many code units were dropped that had never been sent.
   */
  restart(lastAccepted: number, maxInput: number): number {
    const dropped = this.#waitingUnits;
    this.#maxInput = maxInput;
    this.#nextSeq = lastAccepted + 1;
    this.#waiting = [];
    this.#underWay = [];
    this.#waitingUnits = this.#underWayUnits = this.#delivered = this.#sent = 0;
    return dropped;
  }
}
