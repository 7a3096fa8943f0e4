import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { realClock } from '../../global/runtime/clock.js';
import { compiledModule } from '../../global/runtime/package-root.js';
import { type EngineProcessOptions, startEngineProcess } from './engine-process.js';
import { birthOf, runningOf, stopLeftover, writePidFile } from './pid-file.js';

function folderOf(): string {
  const folder = mkdtempSync(join(tmpdir(), 'meridian-engine-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function shell(folder: string, script: string, over: Partial<EngineProcessOptions> = {}): EngineProcessOptions {
  return {
    name: 'an engine',
    command: '/bin/sh',
    arguments: ['-c', script],
    folder,
    logFile: join(folder, 'logs', 'engine.log'),
    pidFile: join(folder, 'engine.pid'),
    ready: { line: /^ready on (\d+)$/m },
    ...over,
  };
}

test('is ready when its log says so, and stops on SIGTERM', async () => {
  const folder = folderOf();
  const engine = await startEngineProcess(shell(folder, 'echo starting; echo ready on 4711; exec sleep 600'));
  expect(engine.readyMatch?.[1]).toBe('4711');
  expect(runningOf(join(folder, 'engine.pid'))).toMatchObject({ name: 'an engine', pid: engine.pid });
  await engine.stop();
  expect(await engine.ended).toBe('SIGTERM');
  expect(engine.running).toBe(false);
  expect(existsSync(join(folder, 'engine.pid'))).toBe(false);
  await engine.stop();
});

test('a line of an earlier run does not count', async () => {
  const folder = folderOf();
  const first = await startEngineProcess(shell(folder, 'echo ready on 1; exec sleep 600'));
  await first.kill();
  expect(await first.ended).toBe('SIGKILL');
  const second = await startEngineProcess(shell(folder, 'echo ready on 2; exec sleep 600'));
  expect(second.readyMatch?.[1]).toBe('2');
  await second.kill();
});

test('what ignores SIGTERM is killed when its budget is over', async () => {
  const script = "trap '' TERM; echo ready on 1; while true; do sleep 0.05; done";
  const engine = await startEngineProcess(shell(folderOf(), script, { stopBudgetMs: 50 }));
  await engine.stop();
  expect(await engine.ended).toBe('SIGKILL');
});

test('one that ends before it is ready: its last words are in the error', async () => {
  const starting = startEngineProcess(shell(folderOf(), 'echo the port is taken; exit 3'));
  await expect(starting).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringMatching(/an engine ended \(exit code 3\).*\n.*the port is taken/),
  });
});

test('one that is not ready in time is ended', async () => {
  const folder = folderOf();
  const script = 'echo $$ > pid; exec sleep 600';
  const starting = startEngineProcess(shell(folder, script, { startBudgetMs: 200 }));
  await expect(starting).rejects.toMatchObject({ message: expect.stringContaining('not ready within 200 ms') });
  expect(birthOf(Number(readFileSync(join(folder, 'pid'), 'utf8')))).toBe(null);
});

test('a probe that rejects is asked again', async () => {
  let asked = 0;
  const probe = async () => {
    asked++;
    if (asked < 3) throw new Error('connection refused');
    return true;
  };
  const engine = await startEngineProcess(shell(folderOf(), 'exec sleep 600', { ready: { probe } }));
  expect(asked).toBe(3);
  await engine.stop();
});

test('a command that is not there is a configuration error', async () => {
  const starting = startEngineProcess({ ...shell(folderOf(), ''), command: 'no-such-engine' });
  await expect(starting).rejects.toMatchObject({ code: 'configuration', retry: 'never' });
});

test('a leftover is ended by its pid file, a stranger of the same pid is not', async () => {
  const folder = folderOf();
  const engine = await startEngineProcess(shell(folder, 'echo ready on 1; exec sleep 600', { outlives: true }));
  const ours = join(folder, 'engine.pid');
  const strange = join(folder, 'strange.pid');
  writeFileSync(strange, JSON.stringify({ version: 1, name: 'x', pid: engine.pid, birth: 'ticks 1' }));
  expect(await stopLeftover(strange, 1_000, realClock)).toBe(null);
  expect(engine.running).toBe(true);
  expect(await stopLeftover(ours, 5_000, realClock)).toMatchObject({ pid: engine.pid });
  await engine.ended;
  expect(await stopLeftover(ours, 5_000, realClock)).toBe(null);
  writeFileSync(ours, 'not a pid file');
  expect(runningOf(ours)).toBe(null);
  writePidFile(ours, 'this', process.pid);
  expect(runningOf(ours)?.pid).toBe(process.pid);
});

test('kill -9 of its parent ends an engine', async () => {
  const folder = folderOf();
  const options = JSON.stringify({ ...shell(folder, 'echo ready on 1; exec sleep 600'), ready: undefined });
  const parent = spawn(process.execPath, [
    '--input-type=module',
    '-e',
    `import { startEngineProcess } from ${JSON.stringify(compiledModule('scripts/engines/engine-process'))};
     const engine = await startEngineProcess({ ...${options}, ready: { probe: async () => true } });
     console.log(engine.pid);`,
  ]);
  const pid = Number(
    await new Promise((resolve, reject) => {
      parent.stdout.once('data', (text) => resolve(String(text)));
      parent.once('exit', () => reject(new Error('the parent ended by itself')));
    }),
  );
  expect(birthOf(pid)).not.toBe(null);
  parent.kill('SIGKILL');
  await vi.waitFor(() => expect(birthOf(pid)).toBe(null), { timeout: 20_000, interval: 50 });
});
