// The console in a browser page, by what people see of it.
const LONG = 60_000

/** The console in one browser page. */
export class Console {
  static async open(browser, url, options = {}) {
    const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, ...options })
    page.setDefaultTimeout(LONG)
    const seen = new Console(page)
    page.on('pageerror', (error) => seen.complaints.push(String(error)))
    await page.goto(url)
    await page.locator('.pill', { hasText: 'Live' }).waitFor()
    await page.locator('.row.file').first().waitFor({ state: 'attached' })
    return seen
  }

  complaints = []

  constructor(page) {
    this.page = page
    this.content = page.locator('.cm-content')
    this.state = page.locator('.save-state')
  }

  row(name) {
    return this.page.locator('.row.file').filter({ has: this.page.getByText(name, { exact: true }) })
  }

  preview() {
    return this.page.frameLocator('iframe')
  }

  /** Opens a file of the tree by its path. */
  async show(file) {
    await this.page.locator(`.row.file[title=${JSON.stringify(file)}]`).click()
    await this.page.locator('.editor .path', { hasText: file }).waitFor()
  }

  /** Puts `text` in place of all that stands in the editor. */
  async type(text) {
    await this.content.click()
    await this.page.keyboard.press('ControlOrMeta+a')
    await this.page.keyboard.insertText(text)
  }

  save() {
    return this.page.keyboard.press('ControlOrMeta+s')
  }

  saved() {
    return this.page.locator('.save-state', { hasText: 'Saved' }).waitFor()
  }

  /** Answers the dialog that is open with `text`. */
  async answer(text) {
    if (text !== undefined) await this.page.locator('dialog input').fill(text)
    await this.page.locator('dialog button[type=submit]').click()
    await this.page.locator('dialog').waitFor({ state: 'detached' })
  }
}
