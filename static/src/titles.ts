/** The title of the tab, from the title of the terminal. Pure. */

import { plainText } from "./checks.ts";

const APP = "ttybridge";
const MAX_TITLE = 120;

/** Returns the title of the document; control characters are stripped, long titles cut. */
export function documentTitle(terminalTitle: string): string {
  const title = plainText(terminalTitle, MAX_TITLE);
  return title === "" || title === APP ? APP : `${title} – ${APP}`;
}
