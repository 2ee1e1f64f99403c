// Syntax highlighting, a line at a time: comments, strings, numbers, keywords. Deliberately simple:
// a few families of languages, no grammars. Builds no elements.

const C_LIKE =
  "abstract as async await bool boolean break case catch char class const continue default " +
  "defer delete do double else enum export extends extern false final finally float fn for from " +
  "func function go if impl implements import in int interface let long loop match mod mut " +
  "namespace new nil null of override package private protected pub public return self short " +
  "static string struct super switch this throw trait true try type typeof undefined unsigned " +
  "use using var void where while yield";
const PYTHON =
  "and as assert async await break case class continue def del elif else except False finally " +
  "for from global if import in is lambda match None nonlocal not or pass raise return self " +
  "True try while with yield";
const SHELL =
  "case do done echo elif else esac exit export fi for function if in local return then while";
const SQL =
  "add all alter and as asc between by case check column constraint create default delete desc " +
  "distinct drop else end exists foreign from full group having in index inner insert into is " +
  "join key left like limit not null on or order outer primary references right select set " +
  "table then union unique update values view when where with";

const family = (words, more) =>
  ({ words: new Set(words.split(" ")), line: "//", block: ["/*", "*/"], quotes: "\"'`", ...more });
const FAMILIES = {
  c: family(C_LIKE, {}),
  python: family(PYTHON, { line: "#", block: null, quotes: "\"'", triple: true }),
  shell: family(SHELL, { line: "#", block: null, quotes: "\"'" }),
  sql: family(SQL, { line: "--", quotes: "'\"", anyCase: true }),
  data: family("true false null yes no", { line: "#", block: null, quotes: "\"'" }),
  markup: family("", { line: null, block: ["<!--", "-->"], quotes: "\"'" }),
  css: family("", { line: null, quotes: "\"'" }),
};
const LANGUAGES = {
  c: "c c++ cpp cc h hpp cs c# csharp java js javascript jsx mjs ts typescript tsx go rust rs " +
    "swift kotlin kt scala php dart",
  python: "python py python3 ruby rb",
  shell: "sh bash zsh shell console make makefile dockerfile",
  sql: "sql sqlite postgres mysql",
  data: "json yaml yml toml ini",
  markup: "html xml svg",
  css: "css scss",
};
const BY_NAME = new Map(Object.entries(LANGUAGES)
  .flatMap(([name, all]) => all.split(" ").map((one) => [one, FAMILIES[name]])));
const WORD = /[A-Za-z_$][\w$]*/y;
const NUMBER = /\d[\w.]*/y;
const LONGEST = 2000; // characters of a line; longer lines are not highlighted

/** The family of a language, or null. */
export const familyOf = (language) => BY_NAME.get(language) ?? null;

/**
 * The tokens of a line, `[kind or "", text]`, and the text that closes the comment or string left
 * open, or null.
 */
export function highlightLine(line, known, open) {
  if (!known || line.length > LONGEST) return { tokens: [["", line]], open: null };
  return new Line(line, known).run(open);
}

class Line {
  constructor(line, known) {
    this.line = line;
    this.known = known;
    this.tokens = [];
    this.at = 0;
  }

  run(open) {
    while (open !== null || this.at < this.line.length) {
      const closing = open ?? this.opened();
      open = null;
      if (closing === null) this.small();
      else if (!this.until(closing))
        return { tokens: this.tokens, open: lasts(closing) ? closing : null };
    }
    return { tokens: this.tokens, open: null };
  }

  token(kind, length) {
    const text = this.line.slice(this.at, this.at + length);
    const last = this.tokens.at(-1);
    if (last && last[0] === kind) last[1] += text;
    else this.tokens.push([kind, text]);
    this.at += length;
  }

  /**
   * The text that closes the comment or string that begins here, or null. Adds the opening mark as
   * a token.
   */
  opened() {
    const { line, block, quotes, triple } = this.known;
    const char = this.line[this.at];
    if (line && this.line.startsWith(line, this.at) && this.wordBegins(line)) return "\n";
    if (block && this.line.startsWith(block[0], this.at)) return this.begin(block[0], block[1]);
    if (!quotes.includes(char)) return null;
    if (triple && this.line.startsWith(char.repeat(3), this.at))
      return this.begin(char.repeat(3), char.repeat(3));
    return this.begin(char, char);
  }

  // A # inside a word starts no comment: $# and colours in shell code.
  wordBegins(mark) {
    return mark !== "#" || this.at === 0 || /\s/.test(this.line[this.at - 1]);
  }

  begin(opening, closing) {
    this.token(closing === this.known.block?.[1] ? "comment" : "string", opening.length);
    return closing;
  }

  /** Add everything up to the closing text as a token; whether the line has it. */
  until(closing) {
    const kind = closing === "\n" || closing === this.known.block?.[1] ? "comment" : "string";
    let end = this.line.indexOf(closing, this.at);
    while (kind === "string" && end > 0 && escaped(this.line, end))
      end = this.line.indexOf(closing, end + 1);
    this.token(kind, (end < 0 ? this.line.length : end + closing.length) - this.at);
    return end >= 0;
  }

  small() {
    for (const [pattern, kind] of [[WORD, "word"], [NUMBER, "number"]]) {
      pattern.lastIndex = this.at;
      const match = pattern.exec(this.line)?.[0];
      if (!match) continue;
      const known = this.known.words.has(this.known.anyCase ? match.toLowerCase() : match);
      return this.token(kind === "word" && !known ? "" : kind, match.length);
    }
    return this.token("", 1);
  }
}

/** Whether the comment or string with this closing text may span lines. */
const lasts = (closing) => closing !== "\n" && (closing.length > 1 || closing === "`");

function escaped(line, at) {
  let slashes = 0;
  while (line[at - 1 - slashes] === "\\") slashes += 1;
  return slashes % 2 === 1;
}
