/**
 * Whole objects under names, as S3 has them: written once and never changed. `s3-object-storage.ts` in production,
 * `cold-folder-storage.ts` embedded; `cold-object-storage.contract.ts` holds both. Names are relative: segments of `OBJECT_NAME`, joined by `/`; none is
 * the beginning of another up to a `/`.
 * Rejections are `MeridianError`s: `unavailable` (retry later), `configuration` (no such bucket, credentials refused), `not-found`.
 */
export interface ObjectReads {
  /** Bytes `[from, from + length)`, all of them: `malformed` where the object ends before. `not-found` where there is none. The caller owns the result. */
  read(name: string, from: number, length: number): Promise<Buffer>;
  /** Names that begin with the prefix and come after `after` (null: from the first), in order of their UTF-8 bytes, up to `LIST_OBJECTS_MAX`; empty at the end. */
  list(prefix: string, after: string | null): Promise<readonly StoredObject[]>;
}

export interface ObjectWrites {
  /** Resolves when the object is durable; it appears whole or not at all, and takes the place of one of the same name. */
  put(name: string, bytes: Buffer): Promise<void>;
  /** Removing what is not there is no error. */
  remove(name: string): Promise<void>;
}

export interface ObjectStorage extends ObjectReads, ObjectWrites {
  close(): Promise<void>;
}

export interface StoredObject {
  readonly name: string;
  readonly bytes: number;
}

/** Most names of one list (S3's own limit). */
export const LIST_OBJECTS_MAX = 1000;
const SEGMENT = '[A-Za-z0-9_][A-Za-z0-9._-]{0,127}';
const OBJECT_NAME = new RegExp(`^${SEGMENT}(/${SEGMENT}){0,15}$`);

/** Whether both kinds of storage take the name: nothing that a file system or a URL would read as something else. */
export function isObjectName(name: string): boolean {
  return OBJECT_NAME.test(name);
}

/** Every object that begins with the prefix, in order. */
export async function listAll(storage: ObjectReads, prefix: string): Promise<StoredObject[]> {
  const all: StoredObject[] = [];
  for (let after: string | null = null; ; ) {
    const some: readonly StoredObject[] = await storage.list(prefix, after);
    if (some.length === 0) return all;
    all.push(...some);
    after = some[some.length - 1]!.name;
  }
}
