/** How long to wait before the next try to connect. Pure: the random number is an argument. */

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 15_000;

/**
 * Returns the delay before try number `attempt` (0 is the first after a loss), in milliseconds.
 *
 * The delay doubles up to 15 s; `random` (0 to 1) takes up to half of it away, so that many pages do not
 * come back in one moment.
 */
export function retryDelay(attempt: number, random: number): number {
  const full = Math.min(FIRST_DELAY_MS * 2 ** Math.min(attempt, 10), LONGEST_DELAY_MS);
  return Math.round(full * (1 - random / 2));
}
