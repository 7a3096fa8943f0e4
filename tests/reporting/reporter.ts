import type { Reporter, TestModule, Vitest } from 'vitest/node';
import { addCounts, addToFile, type Counts, countsLine } from './counts.js';
import type { EngineSuite } from './engine-suites.js';

export interface ReporterOptions {
  /** Suites of real engines that this run leaves out because something is missing: named, and counted as skipped. */
  readonly skipped: readonly EngineSuite[];
  /** Those that it leaves to `npm run test:engines`: named only. */
  readonly elsewhere: readonly EngineSuite[];
  /** `MERIDIAN_TEST_COUNTS`: the last line is the sum of all runs that were given the same file. */
  readonly countsFile: string | undefined;
  readonly out: (line: string) => void;
}

type TestState = 'pending' | 'passed' | 'failed' | 'skipped';

/** What is used of vitest's `TestModule`. */
interface CountedModule {
  ok(): boolean;
  readonly children: { allTests(): Iterable<{ result(): { readonly state: TestState } }> };
}

/** After vitest's own summary: which engine suites were left out and why, and the counts alone on the last line. */
export class CountingReporter implements Reporter {
  readonly #options: ReporterOptions;
  #counts: Counts = { passed: 0, failed: 0, skipped: 0 };

  constructor(options: ReporterOptions) {
    this.#options = options;
  }

  #vitest: Pick<Vitest, 'globTestSpecifications'> | undefined;
  #ran = 0;

  onInit(vitest: Vitest): void {
    this.#vitest = vitest;
  }

  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    this.#ran = modules.length;
    this.count(modules, errors.length);
  }

  /** `errors`: those outside of any test. */
  count(modules: readonly CountedModule[], errors: number): void {
    this.#counts = modules.map(countsOf).reduce(addCounts, { passed: 0, failed: errors, skipped: 0 });
  }

  /** vitest's default reporter prints its summary in the same event; reporters are called in order. */
  async onFinished(): Promise<void> {
    const all = await this.#vitest?.globTestSpecifications();
    // Whoever asks for a file or a folder knows what is left out.
    const whole = all === undefined || this.#ran >= all.length;
    this.print(whole);
  }

  print(whole: boolean): void {
    const { skipped, elsewhere, countsFile, out } = this.#options;
    for (const { path, missing } of skipped) out(`SKIPPED: ${path}: ${missing}`);
    for (const { path } of whole ? elsewhere : []) out(`not run here: ${path}: npm run test:engines`);
    const own = addCounts(this.#counts, { passed: 0, failed: 0, skipped: skipped.length });
    out(countsLine(countsFile ? addToFile(countsFile, own) : own));
  }
}

/** A file that could not be loaded fails as one. */
function countsOf(module: CountedModule): Counts {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const test of module.children.allTests()) {
    const { state } = test.result();
    // What is pending at the end never ran: an interrupted run.
    counts[state === 'pending' ? 'skipped' : state]++;
  }
  if (counts.failed === 0 && !module.ok()) counts.failed++;
  return counts;
}
