import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { type EngineProcess, type EngineProcessOptions, startEngineProcess } from './engine-process.js';
import { checkJava, type JarSet, run } from './maven-jars.js';

export interface JavaProcessOptions extends Omit<EngineProcessOptions, 'command' | 'arguments'> {
  readonly jarSet: JarSet;
  /** Jars before those of the set; jars only, as class-data archives refuse folders. */
  readonly classpathFirst?: readonly string[];
  readonly mainClass: string;
  readonly arguments: readonly string[];
  readonly jvmFlags: readonly string[];
}

/** For every JVM of ours: small, one collector thread, quick to warm up. */
export const JVM_FLAGS = ['-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Xshare:auto'] as const;

/** What `java` is called with, the class-data archive of the jar set included when it is there. */
export function javaArguments(
  options: Pick<JavaProcessOptions, 'jarSet' | 'classpathFirst' | 'mainClass' | 'arguments' | 'jvmFlags'>,
): string[] {
  const archive = archiveOf(options.jarSet, options.mainClass);
  return [
    ...JVM_FLAGS,
    ...(existsSync(archive) ? [`-XX:SharedArchiveFile=${archive}`] : []),
    ...options.jvmFlags,
    '-cp',
    classpathOf(options),
    options.mainClass,
    ...options.arguments,
  ];
}

/** Starts a Java engine; see `startEngineProcess`. Rejects with `configuration` where there is no Java. */
export async function startJava(options: JavaProcessOptions): Promise<EngineProcess> {
  return orTellWhatIsMissing(startEngineProcess({ ...options, command: 'java', arguments: javaArguments(options) }));
}

/** Where the class-data archive of a main class is kept: beside the jars that it belongs to. */
export function archiveOf(jarSet: JarSet, mainClass: string): string {
  return join(jarSet.folder, `${mainClass.split('.').at(-1)}.jsa`);
}

function classpathOf({ classpathFirst, jarSet }: Pick<JavaProcessOptions, 'classpathFirst' | 'jarSet'>): string {
  return [...(classpathFirst ?? []), ...jarSet.jars].join(delimiter);
}

/**
 * Makes the class-data archive of a main class unless it is there: the next starts take a third of the time. `session` runs the engine once
 * with the flags that it is given added to the JVM's, and ends it by SIGTERM; the archive is written as the JVM exits. An archive that cannot be
 * made costs only time, so failures are reported and otherwise ignored.
 */
export async function ensureArchive(
  jarSet: JarSet,
  mainClass: string,
  onProgress: (line: string) => void,
  session: (flags: readonly string[], scratchFolder: string) => Promise<void>,
): Promise<void> {
  const archive = archiveOf(jarSet, mainClass);
  if (existsSync(archive)) return;
  const scratch = mkdtempSync(join(tmpdir(), 'meridian-archive-'));
  const made = `${archive}.${process.pid}`;
  try {
    mkdirSync(jarSet.folder, { recursive: true });
    await session([`-XX:ArchiveClassesAtExit=${made}`], scratch);
    if (existsSync(made)) renameSync(made, archive);
    else onProgress(`no class-data archive was made for ${mainClass}: starts will be slower`);
  } catch (error) {
    onProgress(`no class-data archive for ${mainClass} (${String(error)}): starts will be slower`);
  } finally {
    rmSync(made, { force: true });
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Runs a Java tool of the jar set to its end, e.g. Kafka's StorageTool. */
export function runJavaTool(
  options: Pick<JavaProcessOptions, 'jarSet' | 'classpathFirst' | 'mainClass' | 'arguments' | 'jvmFlags' | 'folder'> & {
    readonly budgetMs: number;
  },
): Promise<{ code: number | string; tail: string }> {
  const { folder, budgetMs } = options;
  return orTellWhatIsMissing(run('java', javaArguments(options), { folder, budgetMs, line: () => {} }));
}

/** Jars may be in the cache of a machine that has lost its Java. Rejects with `configuration` and how to get it in that case. */
async function orTellWhatIsMissing<T>(running: Promise<T>): Promise<T> {
  try {
    return await running;
  } catch (error) {
    await checkJava();
    throw error;
  }
}
