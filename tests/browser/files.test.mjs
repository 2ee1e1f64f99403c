// Text files and PDFs in a chat: picked, shown, sent as text, refused in words.

import { assert, finished, onPage, reload } from "./page.mjs";

const pick = (page, name, content, mimeType = "text/plain") => page.setInputFiles("#files", { name, mimeType, buffer: Buffer.from(content) });
const refused = async (page, words) => page.waitForFunction((wanted) => document.getElementById("problem").textContent === wanted, words);

/** A PDF with a page for each of `texts`, whose lines are drawn one below the other; `trailer` goes into its trailer. */
function pdf(texts, trailer = "") {
  const first = 4;
  const contents = texts.map((text) => text.split("\n").map((line, at) => `BT /F 1 Tf 20 ${780 - 20 * at} Td (${line}) Tj ET`).join("\n"));
  const objects = ["<</Type/Catalog/Pages 2 0 R>>",
    `<</Type/Pages/Count ${texts.length}/Kids[${texts.map((_, index) => `${first + 2 * index} 0 R`).join(" ")}]>>`,
    "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
    ...contents.flatMap((content, index) => [
      `<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Resources<</Font<</F 3 0 R>>>>/Contents ${first + 2 * index + 1} 0 R>>`,
      `<</Length ${content.length}>>stream\n${content}\nendstream`])];
  let text = "%PDF-1.7\n";
  const places = objects.map((object, index) => {
    const place = text.length;
    text += `${index + 1} 0 obj\n${object}\nendobj\n`;
    return `${String(place).padStart(10, "0")} 00000 n \n`;
  });
  return `${text}xref\n0 ${objects.length + 1}\n0000000000 65535 f \n${places.join("")}trailer\n` +
    `<</Size ${objects.length + 1}/Root 1 0 R${trailer}>>\nstartxref\n${text.length}\n%%EOF\n`;
}

const LOCKED = `/ID[<00><00>]/Encrypt<</Filter/Standard/V 1/R 2/P -4/O <${"1".repeat(64)}>/U <${"2".repeat(64)}>>>`;

onPage("a PDF's text is read when it is attached, and sent like a text file's", async (page) => {
  const asked = [];
  page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  await page.route("**/pdf.worker.min.mjs", async (route) => {
    // The file is being read: nothing is sent without it.
    assert.equal(await page.locator("#attachments").innerText(), "Reading report.pdf…");
    assert.ok(await page.locator("#send").isDisabled());
    await route.continue();
  });
  await page.fill("#message", "What is in it?");
  await pick(page, "report.pdf", pdf(["First page\nwith two lines", "", "Third page"]), "application/pdf");
  await page.getByRole("button", { name: "Remove report.pdf" }).waitFor();
  assert.deepEqual(asked.filter((path) => path.startsWith("/static/")), ["/static/vendor/pdfjs/pdf.min.mjs", "/static/vendor/pdfjs/pdf.worker.min.mjs"]);
  const sent = page.waitForRequest("**/api/engine/chat");
  await page.click("#send");
  assert.equal((await sent).postDataJSON().messages[0].content,
    "File report.pdf:\n```\nFirst page\nwith two lines\n\nThird page\n```\n\nWhat is in it?");
  await finished(page);
});

onPage("text files are sent as text before the message, and shown with it", async (page) => {
  await pick(page, "data.csv", "a,b\n1,2\n");
  await page.getByRole("button", { name: "Remove data.csv" }).waitFor();
  await pick(page, "notes.md", "# Notes\n```js\nx\n```\n");
  await page.getByRole("button", { name: "Remove notes.md" }).waitFor();
  assert.match(await page.locator("#attachments").innerText(), /data\.csv\s*8 bytes/);
  const sent = page.waitForRequest("**/api/engine/chat");
  await page.fill("#message", "What is in them?");
  await page.press("#message", "Enter");
  const { messages } = (await sent).postDataJSON();
  assert.deepEqual(messages, [{ role: "user", content:
    "File data.csv:\n```csv\na,b\n1,2\n```\n\nFile notes.md:\n````md\n# Notes\n```js\nx\n```\n````\n\nWhat is in them?" }]);
  await finished(page);
  await reload(page);
  await page.locator(".file summary").first().click();
  await page.waitForFunction(() => document.querySelector(".file pre").textContent !== "");
  assert.equal(await page.locator(".file pre").first().innerText(), "a,b\n1,2\n");
  assert.equal(await page.locator(".bubble").innerText(), "What is in them?");
});

onPage("a file alone is a message, and its name the name of the conversation; long lines of it are scrolled", async (page) => {
  const long = `{"a":"${"x".repeat(200)}"}`;
  await pick(page, "x.json", long, "application/json");
  await page.getByRole("button", { name: "Remove x.json" }).waitFor();
  const sent = page.waitForRequest("**/api/engine/chat");
  await page.click("#send");
  assert.equal((await sent).postDataJSON().messages[0].content, `File x.json:\n\`\`\`json\n${long}\n\`\`\``);
  await finished(page);
  assert.equal(await page.locator("#conversations .open").innerText(), "x.json");
  await page.setViewportSize({ width: 390, height: 844 });
  await page.locator(".file summary").click();
  await page.locator(".file pre", { hasText: "xxx" }).waitFor();
  const { x, width } = await page.locator(".file pre").boundingBox();
  assert.ok(x > 0 && x + width < 390, `${x} ${width}`);
});

onPage("what can't be read is refused with its name and the reason", async (page) => {
  await pick(page, "broken.pdf", "%PDF-1.7\n…");
  await refused(page, "broken.pdf is damaged, or no PDF.");
  await pick(page, "scan.pdf", pdf(["", ""]));
  await refused(page, "scan.pdf has no text. If its pages are pictures, attach them as images.");
  await pick(page, "locked.pdf", pdf(["Secret"], LOCKED));
  await refused(page, "locked.pdf is protected with a password. Save it without one.");
  await pick(page, "book.pdf", pdf(Array(8).fill(Array(34).fill("x".repeat(1000)).join("\n"))));
  await refused(page, "book.pdf has more text than a file can have: 256 KB.");
  await pick(page, "letter.docx", "PK\x03\x04…");
  await refused(page, "letter.docx is a zip archive or an office document, which this page can't read. Copy its text into the message, or save it as a text file.");
  await pick(page, "long.txt", "x".repeat(300 * 1024));
  await refused(page, "long.txt has 300 KB. A text file can have 256 KB.");
  await pick(page, "latin.txt", Buffer.from([0x66, 0xfc, 0x72]));
  await refused(page, "latin.txt is neither an image nor a text file in UTF-8.");
  await pick(page, "empty.txt", " \n");
  await refused(page, "empty.txt is empty.");
  for (const number of [1, 2, 3, 4]) {
    await pick(page, `${number}.txt`, "x".repeat(255 * 1024));
    await page.getByRole("button", { name: `Remove ${number}.txt` }).waitFor();
  }
  await pick(page, "5.txt", "x".repeat(64 * 1024));
  await refused(page, "The files of a message can have 1 MB together. 5.txt was left out.");
  assert.equal(await page.locator("#attachments li").count(), 4);
});
