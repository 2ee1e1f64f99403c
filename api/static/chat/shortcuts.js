// Keyboard shortcuts of the page, and their list.

import { byId, element } from "../dom.js";

const LISTED = [
  [["Enter"], "Send the message"],
  [["Shift", "Enter"], "New line"],
  [["Esc"], "Stop the answer"],
  [["↑"], "Edit the last message (in an empty field)"],
  [["Alt", "N"], "New chat"],
  [["Alt", "M"], "Go to the message field"],
  [["Alt", "L"], "Go to the conversations"],
  [["Alt", "F"], "Search the conversations"],
  [["Alt", "R"], "Answer again"],
  [["Alt", "S"], "Settings"],
  [["Alt", "K"], "Keyboard shortcuts"],
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
    // By key code, not by letter: on a Mac, Alt changes the letter.
    const name = event.altKey && !event.ctrlKey && !event.metaKey ? event.code
      : event.key === "Escape" ? "Escape" : "";
    const action = { KeyK: show, ...run }[name];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
