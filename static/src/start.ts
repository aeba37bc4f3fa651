/** The script in the page itself: begins what need not wait for the other one. */

import { openEarly } from "./early.ts";

const box = document.getElementById("terminal");
const early = box && openEarly(box);
if (early) window.ttybridgeEarly = early;
