import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  S3ServiceException,
} from '@aws-sdk/client-s3';
import { invariant, MeridianError, messageOf } from '../../global/runtime/errors.js';
import { isObjectName, LIST_OBJECTS_MAX, type ObjectStorage, type StoredObject } from './cold-object-storage.js';

export interface S3StorageOptions {
  readonly bucket: string;
  /** Before every name: segments of names, joined by `/`, without one at either end. Default: none. */
  readonly prefix?: string;
  /** URL of an S3-compatible server; left out for AWS. */
  readonly endpoint?: string;
  /** Default `us-east-1`. */
  readonly region?: string;
  /** Left out: as the SDK finds them (environment, shared file, instance or pod identity). */
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
  /** Bucket in the path and not in the host name. Default: where `endpoint` is given. */
  readonly pathStyle?: boolean;
  /** Default 5 s. */
  readonly connectTimeoutMs?: number;
  /** Until the answer begins, and between parts of it. Default 30 s. */
  readonly requestTimeoutMs?: number;
  /** Connections at once. Default 50. */
  readonly connectionsMax?: number;
  /** Tries of one request, the first included. Default 3. */
  readonly attemptsMax?: number;
}

export const S3_DEFAULTS = {
  region: 'us-east-1',
  connectTimeoutMs: 5_000,
  requestTimeoutMs: 30_000,
  connectionsMax: 50,
  attemptsMax: 3,
} as const;

/**
 * Objects in a bucket of S3 or of a compatible server; the bucket has to be there. Rejects with `configuration` where it is not, or the
 * credentials are refused; `unavailable` where the server does not answer. Objects are sent with a CRC-32 that the server checks.
 */
export async function openS3Storage(options: S3StorageOptions): Promise<ObjectStorage> {
  const { bucket, prefix } = options;
  if (prefix && !isObjectName(prefix)) {
    const message = `object prefix "${prefix}": letters, digits, ".", "_" and "-", joined by "/", none at either end`;
    throw new MeridianError('configuration', message, 'never');
  }
  const storage = new S3Storage(options);
  try {
    await storage.check(`open bucket ${bucket}`);
    return storage;
  } catch (error) {
    await storage.close();
    throw error;
  }
}

class S3Storage implements ObjectStorage {
  readonly #client: S3Client;
  readonly #bucket: string;
  readonly #prefix: string;
  readonly #where: string;

  constructor(options: S3StorageOptions) {
    const { bucket, prefix, endpoint, credentials, pathStyle, ...rest } = options;
    const { region, connectTimeoutMs, requestTimeoutMs, connectionsMax, attemptsMax } = { ...S3_DEFAULTS, ...rest };
    this.#bucket = bucket;
    this.#prefix = prefix ? `${prefix}/` : '';
    this.#where = `bucket ${bucket}${endpoint ? ` at ${endpoint}` : ''}`;
    const agent = { maxSockets: connectionsMax, keepAlive: true };
    this.#client = new S3Client({
      region,
      maxAttempts: attemptsMax,
      forcePathStyle: pathStyle ?? endpoint !== undefined,
      requestHandler: {
        connectionTimeout: connectTimeoutMs,
        requestTimeout: requestTimeoutMs,
        socketTimeout: requestTimeoutMs,
        throwOnRequestTimeout: true,
        httpAgent: agent,
        httpsAgent: agent,
      },
      ...(endpoint ? { endpoint } : {}),
      ...(credentials ? { credentials } : {}),
    });
  }

  async check(what: string): Promise<void> {
    await this.#doing(what, () => this.#client.send(new HeadBucketCommand({ Bucket: this.#bucket })));
  }

  read(name: string, from: number, length: number): Promise<Buffer> {
    const what = `read ${length} bytes at ${from} of object ${this.#key(name)}`;
    return this.#doing(what, async () => {
      if (length === 0) return Buffer.alloc(0);
      const command = new GetObjectCommand({
        Bucket: this.#bucket,
        Key: this.#key(name),
        Range: `bytes=${from}-${from + length - 1}`,
      });
      const { Body } = await this.#client.send(command);
      const bytes = Buffer.from((await Body?.transformToByteArray()) ?? []);
      if (bytes.length === length) return bytes;
      throw new MeridianError('malformed', `${what} in ${this.#where}: got ${bytes.length} bytes`, 'never');
    });
  }

  list(prefix: string, after: string | null): Promise<readonly StoredObject[]> {
    return this.#doing(`list objects "${this.#prefix}${prefix}"`, async () => {
      const { Contents = [] } = await this.#client.send(
        new ListObjectsV2Command({
          Bucket: this.#bucket,
          Prefix: this.#prefix + prefix,
          MaxKeys: LIST_OBJECTS_MAX,
          ...(after === null ? {} : { StartAfter: this.#prefix + after }),
        }),
      );
      return Contents.map(({ Key = '', Size = 0 }) => ({ name: Key.slice(this.#prefix.length), bytes: Size }));
    });
  }

  async put(name: string, bytes: Buffer): Promise<void> {
    const what = `write object ${this.#key(name)} of ${bytes.length} bytes`;
    await this.#doing(what, () =>
      this.#client.send(
        new PutObjectCommand({
          Bucket: this.#bucket,
          Key: this.#key(name),
          Body: bytes,
          ContentLength: bytes.length,
          ContentType: 'application/octet-stream',
          ChecksumAlgorithm: 'CRC32',
        }),
      ),
    );
  }

  async remove(name: string): Promise<void> {
    const command = new DeleteObjectCommand({ Bucket: this.#bucket, Key: this.#key(name) });
    await this.#doing(`remove object ${this.#key(name)}`, () => this.#client.send(command));
  }

  async close(): Promise<void> {
    this.#client.destroy();
  }

  #key(name: string): string {
    invariant(isObjectName(name), `object name "${name}"`);
    return this.#prefix + name;
  }

  async #doing<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw s3Error(`${what} in ${this.#where}`, error);
    }
  }
}

const REFUSED = new Set([
  'AccessDenied',
  'InvalidAccessKeyId',
  'SignatureDoesNotMatch',
  'NoSuchBucket',
  'PermanentRedirect',
]);

/** What went wrong, as the port says it. Exported for its test. */
export function s3Error(what: string, error: unknown): MeridianError {
  if (error instanceof MeridianError) return error;
  const status = error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined;
  const name = error instanceof Error ? error.name : 'Error';
  const text = `${what}: ${name === 'Error' ? '' : `${name}: `}${messageOf(error)}${status ? ` (HTTP ${status})` : ''}`;
  const options = { cause: error };
  if (name === 'NoSuchKey') return new MeridianError('not-found', text, 'never', options);
  if (status === 416) return new MeridianError('malformed', text, 'never', options);
  // Credentials and buckets can be put right while we run.
  if (REFUSED.has(name) || status === 403 || status === 404) {
    return new MeridianError('configuration', text, 'later', options);
  }
  if (name === 'CredentialsProviderError') return new MeridianError('configuration', text, 'later', options);
  return new MeridianError('unavailable', text, 'later', options);
}
