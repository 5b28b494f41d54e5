// Drives the console in a browser page by what users see.
/** Deadline of one step, for a busy machine. Milliseconds. */
export const STEP_MS = 60_000

/** The console in one browser page. */
export class Console {
  static async open(browser, url, options = {}) {
    const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, ...options })
    page.setDefaultTimeout(STEP_MS)
    const opened = new Console(page)
    page.on('pageerror', (error) => opened.pageErrors.push(String(error)))
    await page.goto(url)
    await page.locator('.pill', { hasText: 'Live' }).waitFor()
    await page.locator('.row.file').first().waitFor({ state: 'attached' })
    return opened
  }

  /** Uncaught errors of the page. */
  pageErrors = []

  constructor(page) {
    this.page = page
    this.content = page.locator('.cm-content')
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

  /** Replaces the whole text in the editor. */
  async replaceText(text) {
    await this.content.click()
    await this.page.keyboard.press('ControlOrMeta+a')
    await this.page.keyboard.insertText(text)
  }

  save() {
    return this.page.keyboard.press('ControlOrMeta+s')
  }

  /** Resolves when the selected file is saved. */
  saved() {
    return this.page.locator('.save-state', { hasText: /^Saved/ }).waitFor()
  }

  /** Confirms the open dialog, after `text` was put into its field. */
  async confirmDialog(text) {
    if (text !== undefined) await this.page.locator('dialog input').fill(text)
    await this.page.locator('dialog button[type=submit]').click()
    await this.page.locator('dialog').waitFor({ state: 'detached' })
  }
}
