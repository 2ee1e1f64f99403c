// Text files in a chat: picked, shown, sent as text, refused in words.

import { assert, finished, onPage } from "./page.mjs";

const pick = (page, name, content, mimeType = "text/plain") => page.setInputFiles("#files", { name, mimeType, buffer: Buffer.from(content) });
const refused = async (page, words) => page.waitForFunction((wanted) => document.getElementById("problem").textContent === wanted, words);

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
  await page.reload();
  await page.waitForSelector(".answer");
  await page.locator(".file summary").first().click();
  await page.waitForFunction(() => document.querySelector(".file pre").textContent !== "");
  assert.equal(await page.locator(".file pre").first().innerText(), "a,b\n1,2\n");
  assert.equal(await page.locator(".bubble").innerText(), "What is in them?");
});

onPage("a file alone is a message, and its name the name of the conversation", async (page) => {
  await pick(page, "x.json", "{}", "application/json");
  await page.getByRole("button", { name: "Remove x.json" }).waitFor();
  const sent = page.waitForRequest("**/api/engine/chat");
  await page.click("#send");
  assert.equal((await sent).postDataJSON().messages[0].content, "File x.json:\n```json\n{}\n```");
  await finished(page);
  assert.equal(await page.locator("#conversations .open").innerText(), "x.json");
});

onPage("what can't be read is refused with its name and the reason", async (page) => {
  await pick(page, "report.pdf", "%PDF-1.7\n…");
  await refused(page, "report.pdf is a PDF, which this page can't read. Copy its text into the message, or save it as a text file.");
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
