import { readFileSync } from 'node:fs';
import { MeridianError, messageOf } from './errors.js';

/** The bytes of a file that an option names. Throws `configuration` naming both. */
export function readOptionFile(option: string, file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new MeridianError('configuration', `${option}: cannot read ${file}: ${messageOf(error)}`, 'never', {
      cause: error,
    });
  }
}

/** A password or token from its file, without the line end that editors add. Throws `configuration`, also where it is empty. */
export function readSecretText(option: string, file: string): string {
  const text = readOptionFile(option, file)
    .toString('utf8')
    .replace(/\r?\n$/, '');
  if (text === '') throw new MeridianError('configuration', `${option}: ${file} is empty`, 'never');
  return text;
}
