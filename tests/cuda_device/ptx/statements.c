/* PTX text -> statements, each with its line, its guard, its opcode and its operands. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "machine.h"

/* A copy in which comments are blank. */
char *without_comments(const char *text) {
  char *copy = strdup(text);
  if (!copy) abort();
  for (char *at = copy; *at; at++) {
    if (at[0] == '/' && at[1] == '/')
      while (*at && *at != '\n') *at++ = ' ';
    else if (at[0] == '/' && at[1] == '*') {
      while (*at && !(at[0] == '*' && at[1] == '/')) {
        if (*at != '\n') *at = ' ';
        at++;
      }
      if (*at) at[0] = at[1] = ' ';
    }
    if (!*at) break;
  }
  return copy;
}

char *trimmed(char *text) {
  while (isspace((unsigned char)*text)) text++;
  char *end = text + strlen(text);
  while (end > text && isspace((unsigned char)end[-1])) *--end = 0;
  return text;
}

/* Cuts the text at commas outside of brackets; the number of parts. */
int split_at_commas(char *text, char **parts, int room) {
  int n = 0, depth = 0;
  text = trimmed(text);
  if (!*text) return 0;
  parts[n++] = text;
  for (char *at = text; *at; at++) {
    if (strchr("([{", *at)) depth++;
    if (strchr(")]}", *at)) depth--;
    if (*at != ',' || depth) continue;
    *at = 0;
    if (n == room) return -1;
    parts[n++] = at + 1;
  }
  for (int i = 0; i < n; i++) parts[i] = trimmed(parts[i]);
  return n;
}

static void parse(struct statement *s, char *text, int line) {
  *s = (struct statement){.line = line, .text = strdup(text), .words = strdup(text)};
  if (!s->text || !s->words) abort();
  for (char *at = s->text; *at; at++)
    if (isspace((unsigned char)*at)) *at = ' ';
  text = trimmed(s->words);
  if (*text == '@') {
    s->guard = text + 1;
    while (*text && !isspace((unsigned char)*text)) text++;
    *text++ = 0;
    text = trimmed(text);
  }
  s->opcode = text;
  if (*text == '.') return;
  while (*text && !isspace((unsigned char)*text)) text++;
  if (!*text) return;
  *text++ = 0;
  s->n_operands = split_at_commas(text, s->operands, 16);
}

static struct statement *one_more(struct statement *all, u32 n) {
  if (n & (n - 1)) return all;
  all = realloc(all, (n ? 2 * n : 1) * sizeof *all);
  if (!all) abort();
  return all;
}

/* A statement that is one mark: { or }. */
static void mark(struct statement *s, const char *text, int line) {
  *s = (struct statement){.line = line, .text = strdup(text), .words = strdup(text)};
  if (!s->text || !s->words) abort();
  s->opcode = s->words;
}

/* The statements of a function's body, which is written into. */
struct statement *statements_of(char *body, int line, u32 *n) {
  struct statement *all = NULL;
  char *start = NULL;
  int started = line;
  *n = 0;
  for (char *at = body; *at; at++) {
    if (*at == '\n') line++;
    if (!start) {
      if (isspace((unsigned char)*at)) continue;
      if (*at == '{' || *at == '}') {
        all = one_more(all, *n);
        mark(&all[(*n)++], *at == '{' ? "{" : "}", line);
        continue;
      }
      start = at;
      started = line;
      if (!strncmp(at, ".loc", 4) && isspace((unsigned char)at[4])) { /* ends with its line */
        while (at[1] && at[1] != '\n') at++;
        start = NULL;
        continue;
      }
    }
    int label = *at == ':' && at[1] != ':' && (at == body || at[-1] != ':') && !strpbrk(start, " \t{(");
    if (*at == ':' && !label) {
      char *c = start;
      while (c < at && (isalnum((unsigned char)*c) || strchr("_$%", *c))) c++;
      label = c == at;
    }
    if (*at != ';' && !label) continue;
    *at = 0;
    if (*start) {
      all = one_more(all, *n);
      parse(&all[*n], start, started);
      if (label) all[*n].guard = ":";
      ++*n;
    }
    start = NULL;
  }
  return all;
}
