/** One question at a time, and short messages that need no answer. */

export interface Question {
  title: string;
  text: string;
  /** Word on the button that goes ahead. */
  action: string;
  danger: boolean;
  /** Pictures that the question is about. */
  pictures: readonly { src: string; name: string }[];
}

interface Asked extends Question {
  answer: (yes: boolean) => void;
}

export const asking: { question: Asked | null } = $state({ question: null });

/** Resolves to true only when the person goes ahead. */
export function ask(question: Partial<Question> & Pick<Question, 'title' | 'text' | 'action'>): Promise<boolean> {
  asking.question?.answer(false);
  return new Promise((resolve) => {
    asking.question = {
      danger: false,
      pictures: [],
      ...question,
      answer: (yes) => {
        asking.question = null;
        resolve(yes);
      },
    };
  });
}

export interface Message {
  key: number;
  text: string;
  bad: boolean;
}

export const messages: { list: Message[] } = $state({ list: [] });

let key = 0;

/** Shows a message for some seconds; failures stay longer. */
export function say(text: string, { bad = false } = {}): void {
  key += 1;
  const message = { key, text, bad };
  messages.list = [...messages.list.slice(-2), message];
  setTimeout(() => dismiss(message.key), bad ? 12_000 : 5_000);
}

export function dismiss(gone: number): void {
  messages.list = messages.list.filter((message) => message.key !== gone);
}

export function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
