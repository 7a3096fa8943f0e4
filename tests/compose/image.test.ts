import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { packageRoot } from '../../global/runtime/package-root.js';
import { repository } from './deployment.js';
import { DOCKERFILE, readDockerfile } from './image-checks.js';

/**
 * What the image contains, in a folder: the files that the last stage copies and nothing else, with the installed packages linked
 * in. (That packages for development are not needed is checked by their names.)
 */
let folder = '';
const children: ChildProcess[] = [];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'meridian-image-'));
  for (const { sources, target } of readDockerfile(repository.text(DOCKERFILE)).at(-1)!.copies) {
    for (const source of sources) {
      const from = join(packageRoot, source.replace(/^\/app\//, ''));
      const to = join(folder, target, target.endsWith('/') ? basename(source) : '');
      mkdirSync(dirname(to), { recursive: true });
      if (basename(from) === 'node_modules') symlinkSync(from, to);
      else if (basename(from) === 'dist') cpSync(from, to, { recursive: true, filter: (path) => !isLeftOut(path) });
      else cpSync(from, to);
    }
  }
});

afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

/** Maps and what is compiled from files that `.dockerignore` names. */
function isLeftOut(path: string): boolean {
  return /\.map$|\.test\.js$|\/dist\/tests$/.test(path);
}

interface Ended {
  readonly code: number | null;
  readonly output: string;
}

function start(...words: string[]) {
  const child = spawn(process.execPath, words, {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH },
  });
  children.push(child);
  let output = '';
  const waiting = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      for (const look of waiting) look();
    });
  }
  const ended: Promise<Ended> = once(child, 'close').then(([code]) => ({ code: code as number | null, output }));
  const said = (what: RegExp) =>
    Promise.race([
      new Promise<void>((resolve) => {
        const look = () => {
          if (what.test(output)) resolve();
        };
        waiting.add(look);
        look();
      }),
      ended.then(() => {
        if (!what.test(output)) throw new Error(`it ended without saying ${what}: ${output}`);
      }),
    ]);
  return { child, ended, said };
}

const meridian = (...words: string[]) => start('scripts/meridian.js', ...words);

describe('the image', () => {
  test('knows its commands', async () => {
    const { code, output } = await meridian('--help').ended;
    expect(output).toMatch(/region \[options\]/);
    expect(code).toBe(0);
  });

  test('runs a region and a router, which drain on SIGTERM', async () => {
    const data = join(folder, 'data');
    const fleet = { regions: [{ region: 'us-east-1', regionApi: '127.0.0.1:1' }] };
    const zero = {
      otlpGrpcPort: 0,
      otlpHttpPort: 0,
      zipkinPort: 0,
      jaegerThriftPort: 0,
      regionApiPort: 0,
      adminPort: 0,
    };
    const write = (name: string, value: object) => {
      const path = join(folder, name);
      writeFileSync(path, JSON.stringify(value));
      return path;
    };
    const region = meridian(
      'region',
      '--config',
      write('region.json', { region: 'us-east-1', fleet, dataDir: data, ...zero }),
    );
    await region.said(/region is up/);
    const router = meridian(
      'router',
      '--config',
      write('router.json', { region: 'us-east-1', fleet, indexDir: join(data, 'index'), httpPort: 0 }),
    );
    await router.said(/router is up/);
    for (const one of [router, region]) one.child.kill('SIGTERM');
    expect([(await router.ended).code, (await region.ended).code]).toEqual([0, 0]);
  }, 120_000);

  test('needs none of the packages for development', () => {
    const { dependencies } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as {
      dependencies: object;
    };
    const known = new Set(Object.keys(dependencies));
    const missing = new Set<string>();
    for (const file of reachable([
      'scripts/cli/main.js',
      'scripts/workload/workload.js',
      'scripts/workload/service-main.js',
      'regions/log/sqlite-log.worker.js',
      'regions/store/store-worker.js',
    ])) {
      for (const name of importsOf(file)) {
        if (name.startsWith('.') || name.startsWith('node:')) continue;
        const pack = name.split('/', name.startsWith('@') ? 2 : 1).join('/');
        if (!known.has(pack)) missing.add(`${pack}, for ${file.slice(folder.length)}`);
      }
    }
    expect([...missing]).toEqual([]);
  });

  test('its health check says whether a URL answers well', async () => {
    let status = 200;
    const server = createServer((_request, response) => response.writeHead(status).end());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/readyz`;
    expect((await start('health.js', url, '20000').ended).code).toBe(0);
    status = 503;
    expect(await start('health.js', url, '20000').ended).toEqual({ code: 1, output: `${url}: status 503\n` });
    server.close();
    await once(server, 'close');
    expect(await start('health.js', url, '20000').ended).toMatchObject({
      code: 1,
      output: expect.stringContaining('ECONNREFUSED'),
    });
  });
});

function importsOf(file: string): string[] {
  const text = readFileSync(file, 'utf8');
  return [
    ...text.matchAll(
      /^(?:import|export)\s[^'"]*?from ["']([^"']+)["']|^import ["']([^"']+)["']|\b(?:import|require)\(["']([^"']+)["']\)/gm,
    ),
  ].map((match) => (match[1] ?? match[2] ?? match[3])!);
}

/** The compiled files that are loaded from those given, which are relative to `dist`. */
function reachable(entries: readonly string[]): ReadonlySet<string> {
  const found = new Set<string>();
  const open = entries.map((path) => join(folder, 'dist', path));
  for (let file = open.pop(); file; file = open.pop()) {
    if (found.has(file)) continue;
    expect(statSync(file).isFile()).toBe(true);
    found.add(file);
    for (const name of importsOf(file)) if (name.startsWith('.')) open.push(join(dirname(file), name));
  }
  return found;
}
