/* A file of PTX: its kernels, functions and variables. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include "../memory.h"
#include "machine.h"

void *ptx_grown(void *list, size_t item, u32 *room) {
  *room = 2 * *room + 16;
  list = realloc(list, *room * item);
  if (!list) abort();
  return list;
}

void *ptx_allocated(size_t size) {
  void *memory = aligned_alloc(256, (size + 255) / 256 * 256);
  if (!memory) abort();
  return memory;
}

static char *copied(const char *text, size_t n) {
  char *copy = strndup(text, n);
  if (!copy) abort();
  return copy;
}

u32 type_width(const char *type) {
  if (!strcmp(type, "pred")) return 0;
  if (!strcmp(type, "f16x2") || !strcmp(type, "bf16x2")) return 4;
  const char *digits = type;
  while (*digits && !isdigit((unsigned char)*digits)) digits++;
  return atoi(digits) / 8;
}

/* .space .align n .type name[size] = values */
void parse_variable(struct symbol *v, char *text) {
  char *values = strchr(text, '=');
  if (values) *values++ = 0;
  *v = (struct symbol){.space = GLOBAL, .values = values ? copied(values, strlen(values)) : NULL};
  u32 align = 0, n = 1;
  for (char *word = strtok(text, " \t\n\r"); word; word = strtok(NULL, " \t\n\r")) {
    if (!strcmp(word, ".align")) align = atoi(strtok(NULL, " \t\n\r"));
    else if (!strcmp(word, ".shared")) v->space = SHARED;
    else if (!strcmp(word, ".local") || !strcmp(word, ".param")) v->space = LOCAL;
    else if (!strcmp(word, ".const")) v->space = CONSTANT;
    else if (word[0] == '.' && isdigit((unsigned char)word[strlen(word) - 1])) v->width = type_width(word + 1);
    else if (word[0] != '.') {
      char *bracket = strchr(word, '[');
      v->name = copied(word, bracket ? (size_t)(bracket - word) : strlen(word));
      for (; bracket; bracket = strchr(bracket + 1, '[')) n *= atoi(bracket + 1);
    }
  }
  v->at = align > v->width ? align : v->width; /* its alignment, until it has a place */
  v->size = (u64)n * v->width;
}

static void fill_variable(const struct symbol *v, char *to) {
  char *text = copied(v->values, strlen(v->values)), *save = NULL;
  u32 at = 0;
  for (char *word = strtok_r(text, "{}, \t\n\r;", &save); word; word = strtok_r(NULL, "{}, \t\n\r;", &save)) {
    char *number = word[0] == '0' && strchr("fFdD", word[1]) && word[1] ? word + 2 : word, *end;
    u64 value = strtoull(number, &end, number == word ? 0 : 16);
    if ((*end && *end != 'U') || at >= v->size) {
      fprintf(stderr, "test device: the variable %s starts with %s, which is not known\n", v->name, word);
      abort();
    }
    memcpy(to + at, &value, v->width);
    at += v->width;
  }
  free(text);
}

u64 variable_address(struct symbol *v) {
  if (v->address) return v->address;
  v->address = memory_new(v->size, MODULE_MEMORY);
  if (!v->address) abort();
  if (v->values) fill_variable(v, (char *)v->address);
  return v->address;
}

static char *between(char *from, char **after) { /* the text within ( and ) */
  char *open = strchr(from, '('), *close = open ? strchr(open, ')') : NULL;
  if (!close) return NULL;
  *after = close + 1;
  return copied(open + 1, close - open - 1);
}

/* .visible .entry name(parameters) or .func (result) name(parameters) */
static void parse_header(struct module *m, char *header, char *body, size_t size, int line) {
  struct routine *r = APPEND(m, routines);
  char *at = strstr(header, ".entry");
  r->is_entry = at != NULL;
  at = at ? at + 6 : strstr(header, ".func") + 5;
  while (isspace((unsigned char)*at)) at++;
  if (*at == '(') r->results = between(at, &at);
  while (isspace((unsigned char)*at)) at++;
  size_t n = strcspn(at, "( \t\n\r");
  r->name = copied(at, n);
  r->parameters = between(at, &at);
  r->body = body ? copied(body, size) : NULL;
  r->line = line;
}

static char *end_of_body(char *open) {
  int depth = 0;
  for (char *at = open; *at; at++) {
    depth += (*at == '{') - (*at == '}');
    if (!depth) return at;
  }
  return NULL;
}

static int lines_in(const char *from, const char *to) {
  int n = 0;
  for (; from < to; from++) n += *from == '\n';
  return n;
}

static void drop_declaration(struct module *m) { /* of a function whose body follows */
  struct routine *last = &m->routines[m->n_routines - 1];
  for (u32 i = 0; i + 1 < m->n_routines; i++)
    if (!strcmp(m->routines[i].name, last->name) && !m->routines[i].body) {
      struct routine kept = m->routines[i];
      m->routines[i] = *last;
      *last = kept;
    }
}

struct module *module_of(const char *ptx) {
  struct module *m = calloc(1, sizeof *m);
  if (!m) abort();
  m->hash = 14695981039346656037ull; /* Fowler, Noll and Vo's */
  for (const char *c = ptx; *c; c++) m->hash = (m->hash ^ (u8)*c) * 1099511628211ull;
  char *work = without_comments(ptx);
  for (char *at = work; *at;) {
    if (isspace((unsigned char)*at) || *at == ';') { at++; continue; }
    if (!strncmp(at, ".version", 8) || !strncmp(at, ".target", 7) || !strncmp(at, ".address_size", 13) ||
        !strncmp(at, ".file", 5)) {
      at += strcspn(at, "\n");
      continue;
    }
    char *brace = at + strcspn(at, "{;"), *end = at + strcspn(at, ";");
    char *header = copied(at, brace - at);
    if (strstr(header, ".entry") || strstr(header, ".func")) {
      char *close = *brace == '{' ? end_of_body(brace) : NULL;
      parse_header(m, header, close ? brace + 1 : NULL, close ? (size_t)(close - brace - 1) : 0, lines_in(work, brace) + 1);
      drop_declaration(m);
      at = close ? close + 1 : brace;
    } else {
      char *declaration = copied(at, end - at);
      if (!strncmp(at, ".section", 8)) end = end_of_body(brace);
      else if (strncmp(at, ".pragma", 7)) parse_variable(APPEND(m, variables), declaration);
      free(declaration);
      at = *end ? end + 1 : end;
    }
    free(header);
  }
  free(work);
  return m;
}

/* A module stays: launches that wait in a stream, and recorded ones, may still need its kernels. */
void module_release(struct module *m) { (void)m; }

struct kernel *kernel_of(struct module *m, const char *name) {
  for (u32 i = 0; i < m->n_kernels; i++)
    if (!strcmp(m->kernels[i]->name, name)) return m->kernels[i];
  for (u32 i = 0; i < m->n_routines; i++)
    if (m->routines[i].is_entry && !strcmp(m->routines[i].name, name))
      return *APPEND(m, kernels) = decode(m, &m->routines[i]);
  return NULL;
}
