// One message on the page: a user's, with its images, or an answer that grows. Calls `on` for what
// the reader asks for.

import { copy } from "../clipboard.js";
import { element } from "../dom.js";
import { MarkdownAnswer } from "../markdown/answer.js";
import { sizeWords } from "./files.js";
import { icon } from "./icons.js";
import { Thinking } from "./thinking.js";
import { Versions, WAIT } from "./versions.js";
import { endWords, figures, figuresAtLength } from "./words.js";

function action(name, label, run) {
  const button = element("button",
    { type: "button", class: "icon-button", "aria-label": label, title: label }, icon(name));
  button.addEventListener("click", () => run(button));
  return button;
}

/** An action that asks for an answer, so that it can't be used while one is running. */
function asking(name, label, run) {
  const button = action(name, label, run);
  button.classList.add("asks");
  return button;
}

/** Whether an answer of the conversation is running. */
function setRunning({ element: shown, versions }, is) {
  versions.running(is);
  for (const button of shown.querySelectorAll(".asks")) {
    button.disabled = is;
    button.title = is ? WAIT : button.getAttribute("aria-label");
  }
}

async function copyWith(button, text) {
  const done = await copy(text);
  button.classList.toggle("done", done);
  button.title = done ? "Copied" : "The browser does not allow copying";
  setTimeout(() => button.classList.remove("done"), 1200);
}

export class UserMessage {
  constructor(message, on) {
    this._message = message;
    this._on = on;
    this.versions = new Versions((step) => on.turn(this._message, step));
    this.element =
      element("li", { class: "message user" }, element("h2", { class: "visually-hidden" }, "You"));
    this._shown = element("div", { class: "content" });
    this._show();
    this.element.append(this._shown);
  }

  _show() {
    const { text, images, files = [] } = this._message;
    const pictures = images.length
      ? element("div", { class: "pictures" }, ...images.map((id) => this._picture(id))) : null;
    this._shown.replaceChildren(
      ...[pictures, ...files.map(fileShown), text && element("p", { class: "bubble" }, text)]
        .filter(Boolean),
      element("div", { class: "actions" },
        action("copy", "Copy the message", (button) => copyWith(button, text)),
        asking("pencil", "Edit and send again", () => this.edit()),
        this.versions.element),
    );
    this.running(this._on.busy());
  }

  /** Whether an answer of the conversation is running. */
  running(is) {
    setRunning(this, is);
  }

  _picture(id) {
    const picture = element("img", { alt: "Image of this message", decoding: "async" });
    this._on.image(id).then((blob) => {
      if (!blob) return;
      picture.src = URL.createObjectURL(blob);
      picture.addEventListener("load", () => {
        URL.revokeObjectURL(picture.src);
        this._on.grown();
      }, { once: true });
    });
    return picture;
  }

  edit() {
    if (this._on.busy()) return;
    const field = element("textarea", { "aria-label": "Edit the message", rows: "3" });
    field.value = this._message.text;
    const send = element("button",
      { type: "submit", class: "button primary asks", "aria-label": "Send" }, "Send");
    const cancel = element("button", { type: "button", class: "button" }, "Cancel");
    const form =
      element("form", { class: "edit" }, field, element("div", { class: "actions" }, cancel, send));
    const close = () => {
      this._show();
      this._shown.querySelector(".actions > button:last-of-type").focus();
    };
    cancel.addEventListener("click", close);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const { images, files = [] } = this._message;
      if (!this._on.busy() && (field.value.trim() || images.length || files.length))
        this._on.resend(this._message, field.value.trim());
    });
    form.addEventListener("keydown", (event) => {
      if (event.key === "Escape") close();
      else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) form.requestSubmit();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    this._shown.replaceChildren(form);
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  }
}

/** A text file of a message: its name, and what it holds when it is unfolded. */
function fileShown({ name, text }) {
  const content = element("pre", { tabindex: "0", role: "region", "aria-label": name });
  const shown = element("details", { class: "file" },
    element("summary", {}, icon("file"), element("span", {}, name),
      element("small", {}, sizeWords(new Blob([text]).size))), content);
  shown.addEventListener("toggle", () => { content.textContent = shown.open ? text : ""; });
  return shown;
}

export class AnswerMessage {
  constructor(answer, on) {
    this._answer = answer;
    this._on = on;
    this.versions = new Versions((step) => on.turn(answer, step));
    this._thinking = new Thinking();
    this._text = element("div", { class: "text" });
    this._markdown = new MarkdownAnswer(this._text);
    this._status = element("p", { class: "waiting" });
    this._notices = element("div", { class: "notices" });
    this._foot = element("div", { class: "foot-line" });
    this._facts = element("span", { class: "facts" });
    this.element = element("li", { class: "message answer" },
      element("h2", { class: "visually-hidden" }, "Answer"),
      this._notices, this._thinking.element, this._text, this._status, this._foot);
    this.show();
  }

  /** Show the answer as it is now. */
  show() {
    const { text, state, warnings } = this._answer;
    const running = state === "running";
    this._thinking.show(this._answer);
    this._markdown.show(text);
    this.element.setAttribute("aria-busy", String(running));
    this.element.classList.toggle("growing",
      running && text !== "" && !this._on.status(this._answer));
    if (this._notices.childElementCount !== warnings.length) {
      this._notices.replaceChildren(
        ...warnings.map((words) => element("p", { class: "notice warning" }, words)));
    }
    const status = running ? this._on.status(this._answer) : "";
    if (this._status.textContent !== status) this._status.textContent = status;
    this._status.hidden = status === "";
    if (!running && !this._ended) this._end();
  }

  /** Whether an answer of the conversation is running. */
  running(is) {
    setRunning(this, is);
  }

  /** Names of models have become known. */
  named() {
    if (this._ended) this._showFacts();
  }

  /** The line about an answer that has ended; its model may not be known by name yet. */
  _showFacts() {
    const { finish, settings } = this._answer;
    this._facts.textContent =
      [this._on.modelName(settings.model), ...figures(this._answer), endWords(finish)]
        .filter(Boolean).join(" · ");
    this._facts.title = figuresAtLength(this._answer);
  }

  _end() {
    this._ended = true;
    const { error, finish, text, reasoning } = this._answer;
    if (error) this._text.after(element("p", { class: "notice error" }, error.words));
    else if (!text && finish !== "cancelled" && !(reasoning && finish === "length"))
      this._text.append(element("p", { class: "muted" }, "The model returned no text."));
    const again = error ? "Try again" : "Answer again";
    const cut = (text || reasoning) && (error || finish === "length" || finish === "cancelled");
    const actions = [
      action("copy", "Copy the answer", (button) => copyWith(button, this._answer.text)),
      asking("again", again, () => this._on.regenerate(this._answer)),
      cut && asking("onward", "Continue the answer", () => this._on.goOn(this._answer)),
    ];
    this._foot.append(
      ...actions.filter(Boolean),
      this.versions.element,
      this._facts,
    );
    this._showFacts();
  }
}
