import { defineConfig } from 'vitest/config';
import { engineSuites, enginesRequired } from './tests/reporting/engine-suites.js';
import { CountingReporter } from './tests/reporting/reporter.js';

/**
 * The suites that need Java, Maven and Redis (`npm run test:engines`): one file at a time, as each starts engines of its own. Where something is missing the
 * suites that need it are skipped and named, or, with CI or MERIDIAN_REQUIRE_ENGINES set, the run fails.
 */
export default defineConfig(async () => {
  const suites = await engineSuites();
  const skipped = suites.filter(({ missing }) => missing !== null);
  if (skipped.length > 0 && enginesRequired(process.env)) {
    const lines = skipped.map(({ path, missing }) => `  ${path}: ${missing}`);
    throw new Error(
      `engines are required here (CI or MERIDIAN_REQUIRE_ENGINES is set) and missing:\n${lines.join('\n')}`,
    );
  }
  const reporter = new CountingReporter({
    skipped,
    elsewhere: [],
    countsFile: process.env.MERIDIAN_TEST_COUNTS,
    out: (line) => console.log(line),
  });
  return {
    test: {
      include: suites.filter(({ missing }) => missing === null).map(({ path }) => path),
      passWithNoTests: true,
      pool: 'forks' as const,
      poolOptions: { forks: { maxForks: 1, minForks: 1 } },
      testTimeout: 120_000,
      hookTimeout: 600_000,
      reporters: ['default', reporter],
    },
  };
});
