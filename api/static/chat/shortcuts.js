// What the keyboard does anywhere on the page, and the list of it.

import { byId, element } from "../dom.js";

const LISTED = [
  [["Enter"], "Send the message"],
  [["Shift", "Enter"], "Break the line"],
  [["Esc"], "Stop the answer"],
  [["↑"], "Edit the last message, in an empty field"],
  [["Alt", "N"], "New chat"],
  [["Alt", "M"], "Go to the message field"],
  [["Alt", "L"], "Go to the conversations"],
  [["Alt", "R"], "Answer again"],
  [["Alt", "S"], "Settings"],
  [["Alt", "K"], "This list"],
];

/** `run`: functions by the letter pressed with Alt, and `Escape`. */
export function listen(run) {
  for (const [keys, what] of LISTED) {
    const shown = keys.flatMap((key, index) => [index ? " " : "", element("kbd", {}, key)]);
    byId("shortcut-list").append(element("dt", {}, ...shown), element("dd", {}, what));
  }
  const dialog = byId("shortcuts");
  const show = () => dialog.showModal();
  byId("open-shortcuts").addEventListener("click", show);
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
    // By place, not by letter: Alt makes other letters of them on a Mac.
    const name = event.altKey && !event.ctrlKey && !event.metaKey ? event.code : event.key === "Escape" ? "Escape" : "";
    const wanted = { KeyK: show, ...run }[name];
    if (!wanted) return;
    event.preventDefault();
    wanted();
  });
}
