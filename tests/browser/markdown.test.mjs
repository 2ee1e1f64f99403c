// The Markdown renderer in a page: model output becomes elements, and none of it is executed or loaded.

import { assert, onPage, slow } from "./page.mjs";

const SHOW = async (texts) => {
  const { MarkdownAnswer } = await import("/static/markdown/answer.js");
  return texts.map((text) => {
    const holder = document.createElement("div");
    holder.className = "text";
    document.body.append(holder);
    new MarkdownAnswer(holder).show(text);
    return holder.innerHTML;
  });
};
const show = (page, ...texts) => page.evaluate(SHOW, texts);

const SCRIPT = "globalThis.ran=1";
const AWAY = "https://elsewhere.invalid/x";
const HOSTILE = [
  `<script>${SCRIPT}</script>`, `<img src=x onerror="${SCRIPT}">`, `<svg onload=${SCRIPT}>`, `<svg><script>${SCRIPT}</script></svg>`,
  `<iframe src="javascript:${SCRIPT}"></iframe>`, `<iframe srcdoc="<script>parent.ran=1</script>">`, `<object data="${AWAY}">`,
  `<embed src="${AWAY}">`, `<link rel=stylesheet href="${AWAY}">`, `<style>@import "${AWAY}"</style>`, `<base href="${AWAY}">`,
  `<meta http-equiv=refresh content="0;url=${AWAY}">`, `<form action="${AWAY}"><button>x</button></form>`,
  `<video src="${AWAY}" onerror=${SCRIPT}>`, `<audio src=x onerror=${SCRIPT}>`, `<details open ontoggle=${SCRIPT}>`,
  `<body onload=${SCRIPT}>`, `<input autofocus onfocus=${SCRIPT}>`, `<math href="javascript:${SCRIPT}">x</math>`,
  `<template><script>${SCRIPT}</script></template>`, `<noscript><p title="</noscript><img src=x onerror=${SCRIPT}>">`,
  `[x](javascript:${SCRIPT})`, `[x](JaVaScRiPt:${SCRIPT})`, `[x](java\tscript:${SCRIPT})`, `[x]( javascript:${SCRIPT})`,
  `[x](<javascript:${SCRIPT}>)`, `[x](&#106;avascript:${SCRIPT})`, `[x](\\javascript:${SCRIPT})`, `[x](\u0001javascript:${SCRIPT})`,
  `[x](vbscript:x)`, `[x](data:text/html,<script>${SCRIPT}</script>)`, `[x](file:///etc/passwd)`, `[x](blob:${AWAY})`,
  `[x](//elsewhere.invalid)`, `[x](/api/engine/chat/stop)`, `[x](https://a.b" onmouseover="${SCRIPT})`,
  `[x](https://a.b 'onmouseover=${SCRIPT}')`, `<javascript:${SCRIPT}>`, `<https://a.b" onclick="${SCRIPT}>`,
  `![x](${AWAY}.png)`, `![x](javascript:${SCRIPT})`, `![x](data:image/svg+xml,<svg onload=${SCRIPT}>)`, `[![x](${AWAY})](${AWAY})`,
  `![](x"onerror="${SCRIPT})`, "```html\n<script>" + SCRIPT + "</script>\n```", "```\"><img src=x onerror=" + SCRIPT + ">\nx\n```",
  "```js onload=" + SCRIPT + "\nx", `\`<img src=x onerror=${SCRIPT}>\``, `| <img src=x onerror=${SCRIPT}> |\n|---|\n| <script>${SCRIPT}</script> |`,
  `> <script>${SCRIPT}</script>`, `- <img src=x onerror=${SCRIPT}>`, `# <svg onload=${SCRIPT}>`, `**<b onclick=${SCRIPT}>x</b>**`,
  `&lt;script&gt;${SCRIPT}&lt;/script&gt;`, `&#60;img src=x onerror=${SCRIPT}&#62;`, `<!--><script>${SCRIPT}</script>-->`,
  `<![CDATA[<script>${SCRIPT}</script>]]>`, `</div></body><script>${SCRIPT}</script>`, `\u2028<script>${SCRIPT}</script>`,
  `[x]: javascript:${SCRIPT}\n\n[x]`, `<a href="javascript:${SCRIPT}">x</a>`, `<a href=x style=position:fixed>x</a>`,
  `\0<scr\0ipt>${SCRIPT}</script>`, `__proto__ [constructor](https://a.b) \`toString\``, "```__proto__\nx\n```", "```constructor\nx\n```",
];
const ALLOWED = new Set(("P H3 H4 H5 H6 HR BR UL OL LI BLOCKQUOTE TABLE TR TH TD DIV FIGURE FIGCAPTION PRE CODE SPAN BUTTON A " +
  "STRONG EM DEL").split(" "));
const ATTRIBUTES = new Set("class href rel target type tabindex role aria-label start".split(" "));

onPage("no hostile text runs, loads, or becomes any but the plain elements", async (page) => {
  const requests = [];
  await page.evaluate(SHOW, ["```\nwarm\n```"]);
  page.on("request", (request) => requests.push(request.url()));
  await page.evaluate(SHOW, HOSTILE);
  await page.evaluate(SHOW, [HOSTILE.join("\n\n"), HOSTILE.join(" ")]);
  for (const link of await page.locator(".text a").all()) await link.dispatchEvent("mouseover");
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 50))));
  const found = await page.evaluate(() => [...document.querySelectorAll(".text *")].map((one) =>
    ({ tag: one.tagName, attributes: one.getAttributeNames(), href: one.getAttribute("href"), rel: one.rel })));
  assert.ok(found.length > HOSTILE.length);
  for (const { tag, attributes, href, rel } of found) {
    assert.ok(ALLOWED.has(tag), tag);
    for (const name of attributes) assert.ok(ATTRIBUTES.has(name), `${tag} ${name}`);
    if (tag === "A") assert.ok(/^(https?:\/\/|mailto:)/.test(href) && /noopener/.test(rel), href);
  }
  assert.equal(await page.evaluate(() => globalThis.ran), undefined);
  assert.deepEqual(requests, []);
});

onPage("a hostile message and title in a conversation stay text", async (page) => {
  await page.route("**/api/engine/chat", (route) => route.fulfill({
    headers: { "Content-Type": "text/event-stream", "X-Job-Id": "a".repeat(32) },
    body: `id: 1\ndata: ${JSON.stringify({ text: HOSTILE.join("\n\n"), done: false })}\n\nid: 2\ndata: ` +
      `${JSON.stringify({ text: "", done: true, error: HOSTILE[1], code: HOSTILE[0] })}\n\n`,
  }));
  await page.fill("#message", HOSTILE[1]);
  await page.press("#message", "Enter");
  await page.waitForSelector(".answer[aria-busy=false] .notice.error");
  assert.equal(await page.evaluate(() => globalThis.ran), undefined);
  assert.equal(await page.locator("#thread script, #thread iframe, #conversations img, #thread .answer img").count(), 0);
});

onPage("Markdown becomes the elements that it means", async (page) => {
  const expected = [
    ["# One\n\ntwo **three** *four* `five` ~~six~~", '<h3 class="h1">One</h3><p>two <strong>three</strong> <em>four</em> <code>five</code> <del>six</del></p>'],
    ["a\nb\\\nc", "<p>a<br>b<br>c</p>"],
    ["snake_case_name 2 * 3 * 4 **open", "<p>snake_case_name 2 * 3 * 4 **open</p>"],
    ["- a\n  - b\n    - c\n- d", "<ul><li><p>a</p><ul><li><p>b</p><ul><li><p>c</p></li></ul></li></ul></li><li><p>d</p></li></ul>"],
    ["3. a\n4. b\n   - c\n5. d", '<ol start="3"><li><p>a</p></li><li><p>b</p><ul><li><p>c</p></li></ul></li><li><p>d</p></li></ol>'],
    ["In 1984\n1984. was a year", "<p>In 1984<br>1984. was a year</p>"],
    ["> a\n> > b\n\nc", "<blockquote><p>a</p><blockquote><p>b</p></blockquote></blockquote><p>c</p>"],
    ["a\n---\nb\n***", "<p>a</p><hr><p>b</p><hr>"],
    ["text <b>&amp;</b> &copy; &nope;", "<p>text &lt;b&gt;&amp;&lt;/b&gt; © &amp;nope;</p>"],
    ["see https://example.org/a_(b), ok", '<p>see <a href="https://example.org/a_(b)" rel="noopener noreferrer nofollow" target="_blank">https://example.org/a_(b)</a>, ok</p>'],
  ];
  assert.deepEqual(await show(page, ...expected.map(([text]) => text)), expected.map(([, html]) => html));
  const [table, code] = await show(page, "| a | b |\n|:-:|--:|\n| 1 \\| 2 | `x` |\nend", "~~~py\nx = '#'  # y\n\n```\n~~~");
  assert.match(table, /<th class="to-center">a<\/th><th class="to-end">b<\/th>.*<td class="to-center">1 \| 2<\/td><td class="to-end"><code>x<\/code>/);
  assert.match(code, /<span>py<\/span>.*<code>x = <span class="t-string">'#'<\/span> {2}<span class="t-comment"># y<\/span>\n\n```<\/code>/s);
});

const LONG = ["# Title", "A paragraph with **bold\ntext** and `code`.", "1. one\n\n   more\n2. two\n   - three\n   - four\n\n     five",
  "```js\n/* a\nb */ const x = `1\n2`; // three\n```", "a | b\n--|--\n1 | 2\n3 | **4**", "> quote\nlazy\n> - list", "words\n#not a heading",
  "line\nx | y\n--|--z\nmore", "words\n-no list\n1.no list\n```no code` here",
  "text\n# heading\n| x |\n|---|\n| y |\nafter", "- [ ] to do\n- [x] done", "***\n\n    indented\n\n    code", "end"].join("\n\n");

onPage("a text that comes in pieces looks as if it had come at once, however it is cut", async (page) => {
  const wrong = await page.evaluate(async (text) => {
    const { MarkdownAnswer } = await import("/static/markdown/answer.js");
    const holder = () => document.createElement("div");
    const whole = (upTo) => {
      const one = holder();
      new MarkdownAnswer(one).show(upTo);
      return one.innerHTML;
    };
    let seed = 1;
    const random = (most) => (seed = (seed * 48271) % 2147483647) % most;
    for (let round = 0; round < 60; round += 1) {
      const grown = holder(), answer = new MarkdownAnswer(grown);
      for (let at = 0; at < text.length;) {
        at = Math.min(text.length, at + 1 + (round ? random(40) : 0));
        answer.show(text.slice(0, at));
        if (grown.innerHTML !== whole(text.slice(0, at))) return { round, upTo: text.slice(Math.max(0, at - 60), at), is: grown.innerHTML.slice(-300), should: whole(text.slice(0, at)).slice(-300) };
      }
    }
    return null;
  }, LONG);
  assert.equal(wrong, null, JSON.stringify(wrong, null, 1));
});

onPage("code is copied as it was written", async (page, context) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.evaluate(SHOW, ["```sh\necho \"a\"\n  # b\n```"]);
  const copied = page.waitForFunction(() => document.querySelector(".text .copy").textContent === "Copied"); // for a second and a half
  await page.evaluate(() => document.querySelector(".text .copy").click());
  await copied;
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), 'echo "a"\n  # b');
});

onPage("no text takes long to read, however it is made", async (page) => {
  const many = (text, times) => text.repeat(times);
  const texts = [many("*", 5e4), many("[", 5e4), many("`", 3e4) + many(" `", 1e4), many("a_", 2e4), many("> ", 2e4), many("- ", 1e4),
    many("[](", 2e4), many("![a](<", 1e4), "[a](" + many("(", 3e4), "|" + many("a|", 2e3) + "\n|" + many("-|", 2e3), many("https://a", 5e3),
    many("&#", 3e4), many("*a **b ", 1e4), `x${many(" ", 5e4)}x`, `# x${many(" #", 2e4)}y`, `\`\`\`${many(" x`", 2e4)}`, many("1. a\n", 2e3)];
  assert.deepEqual(await slow(page, texts, 1000), []);
});
