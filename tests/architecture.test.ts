import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, normalize, relative } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packageRoot } from '../global/runtime/package-root.js';

/** The house rules of the layout: who may import whom, what is pure, who touches the process (see README, "Layout"). */

const ROOMS = ['global', 'regions', 'router', 'scripts', 'tests'];

interface Source {
  readonly path: string;
  readonly text: string;
  /** Paths of our own modules that it imports, from the root. */
  readonly imports: readonly string[];
  readonly packages: readonly string[];
}

const IMPORT = /(?:^|\n)\s*(?:import|export)\s+(?:type\s+)?[^'";]*?from\s+'([^']+)'|import\(\s*'([^']+)'\s*\)/g;

function sources(): Source[] {
  const found: Source[] = [];
  const walk = (folder: string) => {
    for (const entry of readdirSync(join(packageRoot, folder), { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) walk(path);
      else if (entry.name.endsWith('.ts')) found.push(read(path));
    }
  };
  for (const room of ROOMS) walk(room);
  return found;
}

function read(path: string): Source {
  const text = readFileSync(join(packageRoot, path), 'utf8');
  const specifiers = [...text.matchAll(IMPORT)].map((match) => (match[1] ?? match[2])!);
  return {
    path,
    text,
    imports: specifiers
      .filter((s) => s.startsWith('.'))
      .map((s) => normalize(join(dirname(path), s)).replace(/\.js$/, '.ts')),
    packages: specifiers.filter((s) => !s.startsWith('.')),
  };
}

const all = sources();
const isTest = ({ path }: Source) =>
  /(\.(test|contract|arbitrary|testing)|-for-tests|-harness)\.ts$|\/testing\//.test(path) || path.startsWith('tests/');
const production = all.filter((source) => !isTest(source));
const under = (...folders: string[]) =>
  production.filter(({ path }) => folders.some((folder) => path.startsWith(`${folder}/`) || path === folder));

/** `path: what is wrong` for each source and finding. */
function findings(of: readonly Source[], wrong: (source: Source) => readonly string[]): string[] {
  return of.flatMap((source) => wrong(source).map((what) => `${source.path}: ${what}`));
}

describe('imports', () => {
  test('there are sources to check', () => {
    expect(all.length).toBeGreaterThan(100);
    expect(under('global/model').flatMap((s) => s.imports).length).toBeGreaterThan(1);
  });

  test('global/model and global/otlp import nothing of ours but each other and the error type', () => {
    const allowed = /^global\/(model|otlp)\/|^global\/runtime\/errors\.ts$/;
    expect(
      findings(under('global/model', 'global/otlp'), ({ imports }) => imports.filter((path) => !allowed.test(path))),
    ).toEqual([]);
  });

  test('global never imports regions, router or scripts', () => {
    expect(findings(under('global'), ({ imports }) => imports.filter((path) => !path.startsWith('global/')))).toEqual(
      [],
    );
  });

  test('regions and router meet only in global', () => {
    expect(
      findings(under('regions'), ({ imports }) => imports.filter((path) => !/^(global|regions)\//.test(path))),
    ).toEqual([]);
    expect(
      findings(under('router'), ({ imports }) => imports.filter((path) => !/^(global|router)\//.test(path))),
    ).toEqual([]);
  });

  test('only the wiring names concrete implementations of a port', () => {
    // A table of options names an engine, but opens none.
    const concrete = /(^|\/)(sqlite|memory|grpc|kafka|redis|elasticsearch)-(?!options\.ts$)[^/]*\.ts$/;
    const wiring = /^(regions\/(region|engines|stores|links)\.ts|router\/from-config\.ts|scripts\/)/;
    expect(
      findings(
        production.filter(({ path }) => !wiring.test(path)),
        ({ path, imports }) => imports.filter((to) => concrete.test(to) && dirname(to) !== dirname(path)),
      ),
    ).toEqual([]);
  });

  test('nothing imports a test helper into production', () => {
    const helper = new Set(all.filter(isTest).map(({ path }) => path));
    // A benchmark may simulate with what the tests simulate with.
    const shipped = production.filter(({ path }) => !path.startsWith('scripts/bench/'));
    expect(findings(shipped, ({ imports }) => imports.filter((path) => helper.has(path)))).toEqual([]);
  });
});

describe('purity', () => {
  const pure = under(
    'router/plan',
    'router/merge',
    'global/index/join.ts',
    'global/sampling',
    'global/model',
    'global/otlp',
    'regions/assembler/open-traces.ts',
    'regions/segments/match.ts',
    'regions/segments/summarize.ts',
  );

  test('pure rooms use no I/O, clock, randomness, timer or environment', () => {
    expect(pure.length).toBeGreaterThan(20);
    const impure =
      /\b(Date\.now|new Date\(\)|Math\.random|performance\.now|setTimeout|setInterval|process\.(env|argv|hrtime|exit))\b/;
    const io = /^(node:)?(fs|net|http|https|child_process|worker_threads|dgram|tls|os)(\/|$)/;
    expect(
      findings(pure, ({ text, packages }) => [
        ...packages.filter((name) => io.test(name)),
        ...(impure.exec(text)?.slice(0, 1) ?? []),
      ]),
    ).toEqual([]);
  });

  test('only main.ts reads the environment or ends the process', () => {
    expect(
      findings(
        production.filter(({ path }) => !/(^|[/-])main\.ts$/.test(path)),
        ({ text }) => /\bprocess\.(env|exit|exitCode|argv)\b/.exec(text)?.slice(0, 1) ?? [],
      ),
    ).toEqual([]);
  });
});

describe('files', () => {
  test('have kebab-case names and at most 400 lines', () => {
    expect(findings(all, ({ path }) => (/^[a-z0-9-]+(\.[a-z]+)*\.ts$/.test(basename(path)) ? [] : ['name']))).toEqual(
      [],
    );
    expect(
      findings(all, ({ text }) => {
        const lines = text.split('\n').length - 1;
        return lines > 400 ? [`${lines} lines`] : [];
      }),
    ).toEqual([]);
  });

  test('no test is skipped, focused or left to do', () => {
    const marked = /\b(test|it|describe)\.(skip|only|todo)\b/;
    const self = relative(packageRoot, new URL(import.meta.url).pathname);
    expect(
      findings(
        all.filter((source) => isTest(source) && source.path !== self),
        ({ text }) => marked.exec(text)?.slice(0, 1) ?? [],
      ),
    ).toEqual([]);
  });
});
