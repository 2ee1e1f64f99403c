// RQ's dashboard in the frame of the other pages: their header leads back, their theme is its theme.

import { SERVICE, assert, onPage } from "./page.mjs";

onPage("the dashboard has the pages' header and theme, and leads back", async (page) => {
  await page.waitForSelector("section.top");
  assert.equal(await page.locator("section.top [aria-current]").innerText(), "Queue");
  const dark = () => page.evaluate(() => document.documentElement.classList.contains("dark"));
  const colour = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  assert.deepEqual([await dark(), await colour()], [false, "rgb(253, 253, 252)"]);
  await page.getByRole("button", { name: "Switch between light and dark" }).click();
  await page.waitForFunction(() => document.documentElement.classList.contains("dark")
    && getComputedStyle(document.body).backgroundColor === "rgb(25, 25, 24)");
  await page.getByRole("link", { name: "Queues" }).click();
  await page.waitForURL(/\/rq\/queues/);
  assert.ok(await dark());
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  await page.locator("section.top").getByRole("link", { name: "Status" }).click();
  await page.waitForURL(`${SERVICE}/status`);
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
}, { opened: (page) => page.goto(`${SERVICE}/rq/jobs`), viewport: { width: 375, height: 740 }, colorScheme: "light" });
