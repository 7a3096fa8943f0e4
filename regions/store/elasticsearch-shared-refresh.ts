/**
 * One refresh at a time for all who want one: who asks while one runs waits for the next, as the running one may have begun before what they
 * are to see was written.
 */
export class SharedRefresh {
  readonly #refresh: () => Promise<void>;
  #running: Promise<void> | null = null;
  #next: Promise<void> | null = null;

  constructor(refresh: () => Promise<void>) {
    this.#refresh = refresh;
  }

  /** Resolves after a refresh that began after this call. */
  run(): Promise<void> {
    if (!this.#running) {
      this.#running = this.#refresh().finally(() => {
        this.#running = null;
      });
      return this.#running;
    }
    this.#next ??= this.#running
      .catch(() => {})
      .then(() => {
        this.#next = null;
        return this.run();
      });
    return this.#next;
  }
}
