/** Times, sizes and numbers in words. Pure. */

/** Returns a duration for reading: `8 s`, `3 min`, `2 h`, `4 days`. */
export function duration(seconds: number): string {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return counted(Math.floor(seconds / 86_400), "day");
}

/** Returns a duration as a clock shows it: `0:07`, `12:40`, `1:02:03`. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (n: number): string => String(n).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** Returns a number of bytes for reading, in units of 1000: `812 B`, `3.4 KB`, `12 MB`. */
export function byteCount(bytes: number): string {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit > 0 && value < 9.95 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** Returns how much time is left until `endsAt` (seconds since 1970) in words. */
export function timeLeft(endsAt: number, now: number): string {
  const left = endsAt - now;
  return left <= 0 ? "expired" : `${roundedUp(left)} left`;
}

/** Returns a duration as `duration` does, but never less than it is. */
function roundedUp(seconds: number): string {
  if (seconds <= 59) return `${Math.ceil(seconds)} s`;
  if (seconds <= 59 * 60) return `${Math.ceil(seconds / 60)} min`;
  if (seconds <= 23 * 3600) return `${Math.ceil(seconds / 3600)} h`;
  return counted(Math.ceil(seconds / 86_400), "day");
}

/** Returns a time to come, as the clock here shows it: `today 19:26`, `tomorrow 07:05`, `3 December 19:26`. */
export function moment(at: number, now: number): string {
  const time = new Date(at * 1000);
  const today = new Date(now * 1000);
  const inDays = (days: number): string =>
    new Date(today.getFullYear(), today.getMonth(), today.getDate() + days).toDateString();
  const clockTime = time.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  const on = time.toDateString();
  if (on === inDays(0)) return `today ${clockTime}`;
  if (on === inDays(1)) return `tomorrow ${clockTime}`;
  return `${time.toLocaleDateString("en-GB", { day: "numeric", month: "long" })} ${clockTime}`;
}

/** Returns `count` with its noun: `1 use`, `3 uses`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}
