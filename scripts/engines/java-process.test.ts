import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { archiveOf, ensureArchive, javaArguments } from './java-process.js';

function jarSet() {
  const folder = mkdtempSync(join(tmpdir(), 'meridian-java-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return { folder, jars: ['/jars/a.jar', '/jars/b.jar'] };
}

const MAIN_CLASS = 'org.example.Engine';

test('the class-data archive is used when it is there', () => {
  const set = jarSet();
  const options = {
    jarSet: set,
    classpathFirst: ['/own.jar'],
    mainClass: MAIN_CLASS,
    jvmFlags: ['-Xmx64m'],
    arguments: ['x'],
  };
  const without = javaArguments(options);
  expect(without.slice(-5)).toEqual(['-Xmx64m', '-cp', '/own.jar:/jars/a.jar:/jars/b.jar', MAIN_CLASS, 'x']);
  const archive = archiveOf(set, MAIN_CLASS);
  writeFileSync(archive, '');
  expect(javaArguments(options).filter((argument) => !without.includes(argument))).toEqual([
    `-XX:SharedArchiveFile=${archive}`,
  ]);
});

test('an archive is made once, and one that cannot be made is only reported', async () => {
  const set = jarSet();
  const lines: string[] = [];
  const say = (line: string) => lines.push(line);
  await ensureArchive(set, MAIN_CLASS, say, () => Promise.reject(new Error('no room')));
  expect(lines).toEqual([expect.stringContaining('no room')]);
  let sessions = 0;
  const session = async ([flag]: readonly string[]) => {
    sessions++;
    writeFileSync(flag!.replace('-XX:ArchiveClassesAtExit=', ''), 'archive');
  };
  await ensureArchive(set, MAIN_CLASS, say, session);
  await ensureArchive(set, MAIN_CLASS, say, session);
  expect(sessions).toBe(1);
  expect(lines).toHaveLength(1);
});
