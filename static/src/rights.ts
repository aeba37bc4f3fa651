/**
 * What to offer whom: the page's picture of ttybridge/core/permissions.py.
 *
 * The server decides; this only keeps buttons away that would be refused. Pure.
 */

import type { Person } from "./peopledata.ts";
import type { Role } from "./protocol.ts";

export type Deed = "admit" | "refuse" | "give" | "take" | "make-owner" | "remove";

/** Returns what somebody with a role may do about another person, the likeliest first. */
export function deedsFor(own: Role, other: Pick<Person, "role" | "state">): readonly Deed[] {
  if (own === "viewer") return [];
  if (other.state === "waiting") return own === "owner" ? ["admit", "refuse"] : [];
  if (own === "editor") return other.role === "viewer" ? ["give", "remove"] : other.role === "editor" ? ["take"] : [];
  if (other.role === "viewer") return ["give", "make-owner", "remove"];
  return other.role === "editor" ? ["take", "make-owner", "remove"] : ["take", "remove"];
}

/** Tells whether a role may let people in and close the door. */
export function mayAdmit(role: Role): boolean {
  return role === "owner";
}

/** Tells whether a role may give others the keyboard. */
export function mayGive(role: Role): boolean {
  return role !== "viewer";
}

/** Returns the roles that a role may make links for. */
export function shareable(role: Role): readonly Role[] {
  if (role === "owner") return ["viewer", "editor", "owner"];
  return role === "editor" ? ["viewer"] : [];
}

/** Tells whether a role may record, and see recordings. */
export function mayRecord(role: Role): boolean {
  return role !== "viewer";
}
