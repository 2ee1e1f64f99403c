// Images in a chat: picked, pasted, dropped, removed, scaled down, refused.

import { ask, assert, chooseVision, finished, last, onPage, reload } from "./page.mjs";

/** A picture with a red circle on the left, as base64. */
const drawn = (page, width = 320, height = 240) => page.evaluate(([wide, high]) => {
  const canvas = Object.assign(document.createElement("canvas"), { width: wide, height: high });
  const draw = canvas.getContext("2d");
  draw.fillStyle = "white";
  draw.fillRect(0, 0, wide, high);
  draw.fillStyle = "#e02020";
  draw.arc(wide * 0.25, high * 0.5, high * 0.26, 0, 7);
  draw.fill();
  return canvas.toDataURL("image/png").split(",")[1];
}, [width, height]);

const pick = async (page, name, base64) =>
  page.setInputFiles("#files", { name, mimeType: "image/png", buffer: Buffer.from(base64, "base64") });

/** What a paste or a drop of a file does. */
const give = (page, event, base64) => page.evaluate(([name, data]) => {
  const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
  const files = new DataTransfer();
  files.items.add(new File([bytes], "circle.png", { type: "image/png" }));
  const init = { bubbles: true, cancelable: true };
  document.getElementById("message").dispatchEvent(name === "paste"
    ? new ClipboardEvent("paste", { ...init, clipboardData: files })
    : new DragEvent("drop", { ...init, dataTransfer: files }));
}, [event, base64]);

onPage("a picked picture is shown, sent and seen, and stays after a reload", async (page) => {
  await chooseVision(page);
  await pick(page, "circle.png", await drawn(page));
  await page.waitForSelector("#attachments img");
  assert.match(await ask(page, "What colour is the circle?"), /red/);
  await reload(page);
  await page.waitForFunction(() => document.querySelector(".pictures img")?.naturalWidth === 320);
});

for (const event of ["paste", "drop"]) {
  onPage(`a picture can be sent by ${event}, without a word`, async (page) => {
    await chooseVision(page);
    await give(page, event, await drawn(page));
    await page.waitForSelector("#attachments img");
    await page.click("#send");
    assert.notEqual(await finished(page), "");
    assert.equal(await page.locator(".pictures img").count(), 1);
  });
}

onPage("a picture is removed again, and what is none is refused in words", async (page) => {
  await pick(page, "circle.png", await drawn(page));
  await page.getByRole("button", { name: "Remove circle.png" }).click();
  assert.equal(await page.locator("#attachments img").count(), 0);
  assert.ok(await page.locator("#send").isDisabled());
  await pick(page, "fake.png", Buffer.from("<svg onload=alert(1)>").toString("base64"));
  await page.waitForSelector("#problem:not([hidden])");
  assert.equal(await page.locator("#problem").innerText(), "fake.png is not a PNG, JPEG, WebP or GIF image.");
  await pick(page, "cut.png", (await drawn(page)).slice(0, 80));
  await page.waitForFunction(() => /could not be opened/.test(document.getElementById("problem").textContent));
});

onPage("a picture over the limit is made smaller before it is sent", async (page) => {
  await chooseVision(page);
  await pick(page, "large.png", await drawn(page, 4000, 3000));
  await page.waitForFunction(() => document.querySelector("#attachments img")?.naturalWidth > 0);
  const [width, height] = await page.locator("#attachments img").evaluate((image) => [image.naturalWidth, image.naturalHeight]);
  assert.ok(width * height <= 2048 * 2048 && Math.abs(width / height - 4 / 3) < 0.01, `${width}x${height}`);
  assert.match(await ask(page, "What colour is the circle?"), /red/);
});

onPage("a model that sees no images says so", async (page) => {
  await pick(page, "circle.png", await drawn(page));
  await page.waitForSelector("#attachments img");
  await ask(page, "Hello!");
  assert.match(await last(page).locator(".notice.warning").innerText(), /does not support images/);
});
