// Formulas in answers: MathML by a library that is loaded with the first of them, and nothing that runs.

import { assert, onPage, slow } from "./page.mjs";

const SHOW = async (texts) => {
  const { MarkdownAnswer } = await import("/static/markdown/answer.js");
  for (const text of texts) {
    const holder = document.createElement("div");
    holder.className = "text probe";
    document.body.append(holder);
    new MarkdownAnswer(holder).show(text);
  }
};
const show = async (page, ...texts) => {
  await page.evaluate(SHOW, texts);
  if (texts.some((text) => /\$|\\/.test(text))) await page.waitForFunction(() => globalThis.temml);
  return page.evaluate(() => [...document.querySelectorAll(".probe")].map((holder) => {
    const found = [...holder.querySelectorAll("math")].map((math) => [math.textContent.replace(/\s|\u2061|\u2062/g, ""), math.getAttribute("display") === "block" || math.closest(".display") !== null]);
    const [text] = [holder.innerText];
    holder.remove();
    return { found, text };
  }));
};
const one = async (page, text) => (await show(page, text))[0];

onPage("formulas in all four marks become MathML, in lines of their own or within the text", async (page) => {
  const loaded = [];
  page.on("request", (request) => loaded.push(new URL(request.url()).pathname));
  await page.evaluate(SHOW, ["Plain **text**, $5 and $6."]);
  assert.deepEqual(loaded.filter((path) => path.includes("vendor")), []);
  await page.evaluate(() => document.querySelector(".probe").remove());
  const cases = [
    ["so $x^2$ is", [["x2", false]]], ["so \\(x+1\\) is", [["x+1", false]]], ["so $$x+1$$ is", [["x+1", true]]], ["so \\[x+1\\] is", [["x+1", true]]],
    ["text:\n$$\na\n= b\n- c\n$$\nmore", [["a=b−c", true]]], ["\\[\n\\frac{a}{b}\n\\]", [["ab", true]]],
    ["- one\n  $$a+b$$\n- $c$", [["a+b", true], ["c", false]]], ["| $a$ | b |\n|---|---|\n| \\(c\\) | d |", [["a", false], ["c", false]]],
    ["$a_1 + b_1$ and *$c*d$*", [["a1+b1", false], ["c∗d", false]]], ["**bold $x$**", [["x", false]]],
    ["$\\{a\\}$ and $a\\\\b$", [["{a}", false], ["ab", false]]],
  ];
  for (const [text, expected] of cases) assert.deepEqual((await one(page, text)).found, expected, text);
  assert.equal(loaded.filter((path) => path === "/static/vendor/temml/temml.min.js").length, 1);
});

onPage("prices, shell and code are no formulas, and backslashes stay where they mean nothing else", async (page) => {
  for (const text of ["$5 and $6", "it costs $5, $6 or $7", "US$5 and CA$6", "a $ b $ c", "$HOME and $PATH", "`$x$` and `\\(x\\)`",
    "```tex\n$x$ \\[y\\]\n```", "\\$x\\$", "between $5-$10", "$$", "$$ open", "\\( open", "$ $", "C:\\dir\\(x", "\\[\n\nno end"]) {
    const { found } = await page.evaluate(SHOW, [text]).then(() => page.evaluate(() => {
      const holder = document.querySelector(".probe"), count = holder.querySelectorAll(".math").length;
      const shown = holder.innerText;
      holder.remove();
      return { found: count, shown };
    }));
    assert.equal(found, 0, text);
  }
  const wrong = "so $\\nosuchcommand{x}$ is";
  assert.deepEqual(await one(page, wrong), { found: [], text: wrong });
});

const SCRIPT = "globalThis.ran=1";
const HOSTILE = [`$\\href{javascript:${SCRIPT}}{x}$`, `$\\url{javascript:${SCRIPT}}$`, "$\\includegraphics{https://elsewhere.invalid/x.png}$",
  `$\\class{x" onclick="${SCRIPT}}{y}$`, `$\\id{x}{y}$`, `$\\style{position:fixed}{x}$`, `$\\data{a=b}{x}$`, `$\\text{<img src=x onerror=${SCRIPT}>}$`,
  `$<img src=x onerror=${SCRIPT}>$`, `$\\color{red" onclick="${SCRIPT}}x$`, "$\\def\\a{\\a\\a}\\a$", "$\\def\\a{\\b}\\def\\b{\\a}\\a$", "$\\rule{99999em}{99999em}$",
  `$${"{".repeat(3000)}x$`, `$${"\\frac{1}{".repeat(800)}x${"}".repeat(800)}$`, `$${"x^".repeat(2000)}x$`, `$${"a".repeat(6000)}$`, "$\\htmlData{x=y}{z}$",
  "$\\tag{<b>x</b>}x$", "$\\char\"3C$script", "$\\unicode{x3C}$", "$\\label{constructor}\\ref{__proto__}$", "$\\gdef\\frac{\\href{x}{y}}\\frac$"];

onPage("no formula runs, links or loads anything, and none outlives its message", async (page) => {
  const requests = [];
  await show(page, "$x$");
  page.on("request", (request) => requests.push(request.url()));
  await page.evaluate(SHOW, HOSTILE);
  await page.evaluate(SHOW, HOSTILE.map((text) => text.replace(/^\$/, "\\[").replace(/\$/, "\\]")));
  await page.evaluate(() => { for (const node of document.querySelectorAll(".probe *")) node.dispatchEvent(new MouseEvent("click", { cancelable: true })); });
  const found = await page.evaluate(() => [...document.querySelectorAll(".probe *")].map((node) =>
    ({ space: node.namespaceURI, tag: node.localName, names: node.getAttributeNames() })));
  for (const { space, tag, names } of found) {
    assert.ok(space === "http://www.w3.org/1998/Math/MathML" || ["p", "span", "br"].includes(tag), `${space} ${tag}`);
    for (const name of names) assert.ok(!/^(on|href|src|xlink|action)/i.test(name), `${tag} ${name}`);
  }
  assert.equal(await page.evaluate(() => globalThis.ran), undefined);
  assert.deepEqual(requests, []);
  await page.evaluate(() => document.querySelectorAll(".probe").forEach((holder) => holder.remove()));
  assert.deepEqual((await one(page, "$\\frac{1}{2}$")).found, [["12", false]]);
});

onPage("a formula that comes in pieces looks in the end as if it had come at once", async (page) => {
  await show(page, "$x$");
  const text = "Text with $a_1$ in it:\n\n$$\nx = \\frac{-b}{2a}\n- c\n$$\n\nso\n\\[\n\ny\n\n1. one \\(z\\)\n2. $5 and $6\n\n$$q$$ end\n$$\nnever\nclosed";
  const wrong = await page.evaluate(async (whole) => {
    const { MarkdownAnswer } = await import("/static/markdown/answer.js");
    const grown = document.createElement("div"), answer = new MarkdownAnswer(grown);
    for (let at = 1; at <= whole.length; at += 1) {
      answer.show(whole.slice(0, at));
      const once = document.createElement("div");
      new MarkdownAnswer(once).show(whole.slice(0, at));
      if (once.innerHTML !== grown.innerHTML) return { upTo: whole.slice(0, at), is: grown.innerHTML, should: once.innerHTML };
    }
    return null;
  }, text);
  assert.equal(wrong, null, JSON.stringify(wrong));
});

onPage("no text with marks of formulas takes long to read", async (page) => {
  await show(page, "$x$");
  const many = (text, times) => text.repeat(times);
  const texts = [many("$", 5e4), many("$a ", 2e4), many("\\(", 3e4), many("\\[a\n", 1e4), many("$$\n", 1e4), many("\\[a\n", 5e3) + "\n\nx", many("$x", 2e4), many("$x$", 3e3)];
  assert.deepEqual(await slow(page, texts, 1500), []);
});
